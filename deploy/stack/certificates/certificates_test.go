package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v, %v; want that only its owner reads it", name, info.Mode(), err)
	}
	return text
}

func TestEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a stack", "tls")
	if err := Ensure(dir, "127.0.0.1", "localhost"); err != nil {
		t.Fatal(err)
	}
	node := read(t, dir, Node)
	pair, err := tls.X509KeyPair(node, node)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(read(t, dir, CA)) {
		t.Fatal("there is no authority")
	}
	for name, want := range map[string]bool{"127.0.0.1": true, "localhost": true, "127.0.0.9": false, "elsewhere": false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if (err == nil) != want {
			t.Errorf("verifying it as %s: %v", name, err)
		}
	}
	trusted, err := pkcs12.DecodeTrustStore(read(t, dir, TrustStore), "")
	if err != nil || len(trusted) != 1 || !trusted[0].IsCA {
		t.Errorf("the trust store has %v, %v", trusted, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 3 {
		t.Errorf("the folder has %v, %v", files, err)
	}

	if err := Ensure(dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if string(read(t, dir, Node)) != string(node) {
		t.Error("a second call made another certificate")
	}
}
