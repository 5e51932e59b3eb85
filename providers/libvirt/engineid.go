package libvirt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// engineKey makes a key of the kind that Docker's engine, up to version 24, makes its id
// of (github.com/docker/libtrust: a JSON Web Key of RFC 7517, and the id of its public
// part), as its file /etc/docker/key.json has it.
func engineKey() (file []byte, id string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	if id, err = engineIDOf(&key.PublicKey); err != nil {
		return nil, "", err
	}
	secret, err := key.Bytes()
	if err != nil {
		return nil, "", err
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, "", err
	}
	const size = 32 // bytes of a coordinate
	text := base64.RawURLEncoding.EncodeToString
	file, err = json.Marshal(map[string]string{
		"kty": "EC", "crv": "P-256", "kid": id,
		"d": text(secret), "x": text(point[1 : 1+size]), "y": text(point[1+size:]),
	})
	return file, id, err
}

// engineIDOf is libtrust's KeyID: the first 30 bytes of the hash of a public key, as
// twelve groups of four letters.
func engineIDOf(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(der)
	letters := base32.StdEncoding.EncodeToString(hash[:30])
	var groups []string
	for ; letters != ""; letters = letters[4:] {
		groups = append(groups, letters[:4])
	}
	return strings.Join(groups, ":"), nil
}
