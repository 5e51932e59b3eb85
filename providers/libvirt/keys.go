package libvirt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/flowctl/flowctl/providers"
)

// enginePort is where a guest's engine listens.
const enginePort = "2376"

// keyring holds the keys of a flow: an authority, which signs the certificate of
// each guest's engine, and our own certificate, without which no engine answers.
// They are files beside the state, which only its owner can read; destroy removes
// them.
type keyring struct {
	dir       string
	authority []byte // PEM
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	client    tls.Certificate
}

// lifetime is how long certificates are valid: longer than any flow, since they
// end with it. They are from before they were made, for guests whose clock is slow.
const lifetime, slowClock = 20 * 365 * 24 * time.Hour, 48 * time.Hour

func (l *Libvirt) keyDir() string { return filepath.Join(l.settings.Dir, "keys") }

// openKeys reads the keys, or makes them. They are put in place all at once.
func (l *Libvirt) openKeys() (*keyring, error) {
	dir := l.keyDir()
	k, err := readKeys(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	fresh, err := l.mintKeys()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(fresh)
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readKeys(dir)
}

// mintKeys makes keys in a folder of their own, which whoever asks for them removes.
func (l *Libvirt) mintKeys() (dir string, err error) {
	if err := os.MkdirAll(l.settings.Dir, 0o700); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(l.settings.Dir, "keys-"); err != nil {
		return "", err
	}
	if err := makeKeys(dir, l.settings.Flow); err != nil {
		return "", errors.Join(fmt.Errorf("make keys: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

func makeKeys(dir, flow string) error {
	root := template("flowctl flow "+flow, 1)
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	cert, key, err := sign(root, nil, nil)
	if err != nil {
		return err
	}
	ca, err := x509.ParseCertificate(cert)
	if err != nil {
		return err
	}
	us := template("flowctl", 2)
	us.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	ours, ourKey, err := sign(us, ca, key)
	if err != nil {
		return err
	}
	return errors.Join(writeCert(dir, "ca.pem", cert), writeKey(dir, "ca-key.pem", key),
		writeCert(dir, "cert.pem", ours), writeKey(dir, "key.pem", ourKey))
}

func template(name string, serial int64) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(serial),
		NotBefore: now.Add(-slowClock), NotAfter: now.Add(lifetime), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// sign makes a key and its certificate; one that signs itself without an authority.
func sign(t, ca *x509.Certificate, caKey *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if ca == nil {
		ca, caKey = t, key
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, ca, &key.PublicKey, caKey)
	return cert, key, err
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}

func writeCert(dir, name string, der []byte) error {
	return os.WriteFile(filepath.Join(dir, name), certPEM(der), 0o600)
}

func writeKey(dir, name string, key *ecdsa.PrivateKey) error {
	text, err := keyPEM(key)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), text, 0o600)
}

func readKeys(dir string) (*keyring, error) {
	k := &keyring{dir: dir}
	root, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the flow's keys: %w", err)
	}
	k.cert, k.key, k.authority = root.Leaf, root.PrivateKey.(*ecdsa.PrivateKey), certPEM(root.Certificate[0])
	k.client, err = tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the flow's keys: %w", err)
	}
	return k, nil
}

// issue makes the key and certificate of a guest's engine, as PEM.
func (k *keyring) issue(ip netip.Addr) (cert, key []byte, err error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	t := template(ip.String(), 0)
	t.SerialNumber, t.ExtKeyUsage = serial, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.IPAddresses = []net.IP{ip.AsSlice()}
	der, private, err := sign(t, k.cert, k.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(private)
	return certPEM(der), key, err
}

// config is how an engine of the flow is talked to.
func (k *keyring) config() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(k.cert)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{k.client}, MinVersion: tls.VersionTLS12}
}

// engineAt is a machine's id: where its engine answers, what to show it, and which
// machine it is.
func (l *Libvirt) engineAt(r providers.Ref, ip netip.Addr) string {
	return engineWith(l.keyDir(), r, ip)
}

// engineWith is that with the keys of a folder.
func engineWith(dir string, r providers.Ref, ip netip.Addr) string {
	q := url.Values{"ca": {filepath.Join(dir, "ca.pem")}, "cert": {filepath.Join(dir, "cert.pem")}, "key": {filepath.Join(dir, "key.pem")}}
	u := url.URL{Scheme: "tcp", Host: net.JoinHostPort(ip.String(), enginePort), RawQuery: q.Encode(), Fragment: r.Address.String()}
	return u.String()
}
