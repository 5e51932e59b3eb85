package libvirt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"testing"
)

// The key is one that an engine of version 20.10 had made.
func TestEngineIDsAreTheEnginesOwn(t *testing.T) {
	public := func(x, y string) *ecdsa.PublicKey {
		point := []byte{4}
		for _, c := range []string{x, y} {
			b, err := base64.RawURLEncoding.DecodeString(c)
			if err != nil {
				t.Fatal(err)
			}
			point = append(point, b...)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	const want = "A6NQ:ACQN:5OBN:RE45:JVQU:56CK:QEVZ:ALLH:HYGG:MD4X:KBNI:OIET"
	id, err := engineIDOf(public("FX9_GwfjMwg2j_sf4vi5Fq2x85_zqrjNm0xuProDKS8", "5wKgSJpzuuFvCPtNXBjRQ4mulhf1qCAp-yLjqxGFKQ0"))
	if err != nil || id != want {
		t.Errorf("%s, %v; want %s", id, err, want)
	}
	file, id, err := engineKey()
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Kid, X, Y string }
	if err := json.Unmarshal(file, &made); err != nil {
		t.Fatal(err)
	}
	if again, err := engineIDOf(public(made.X, made.Y)); err != nil || again != id || made.Kid != id {
		t.Errorf("a key that is made says %q, is %q and is given as %q (%v)", made.Kid, again, id, err)
	}
}
