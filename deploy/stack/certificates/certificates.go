// Package certificates makes what the local stack's engines show to their clients when
// it runs with TLS. It stands beneath the data's path. The key of the authority is
// thrown away once it has signed, so that nobody can ever make another certificate.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// The files of a folder that Ensure has made.
const (
	CA         = "ca.pem"   // the authority's certificate, for clients
	TrustStore = "ca.p12"   // the same for a JVM: PKCS #12 without a password
	Node       = "node.pem" // the engines' key and certificate
)

// valid is how long a certificate lasts: as long as a stack of one machine may.
const valid = 10 * 365 * 24 * time.Hour

// Ensure makes the folder with its files, for engines at the hosts, unless it is there.
func Ensure(dir string, hosts ...string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := create(dir, hosts); err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	return nil
}

func create(dir string, hosts []string) error {
	ca, caKey, err := authority()
	if err != nil {
		return err
	}
	node, err := sign(ca, caKey, hosts)
	if err != nil {
		return err
	}
	store, err := pkcs12.Passwordless.EncodeTrustStore([]*x509.Certificate{ca}, "")
	if err != nil {
		return err
	}
	// Complete or absent.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), "certificates-") // for its owner only
	if err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(made, CA), encode("CERTIFICATE", ca.Raw), 0o600),
		os.WriteFile(filepath.Join(made, TrustStore), store, 0o600),
		os.WriteFile(filepath.Join(made, Node), node, 0o600),
	)
	if err == nil {
		err = os.Rename(made, dir)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(made))
	}
	return nil
}

func authority() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template, err := newTemplate("bookstore's local stack")
	if err != nil {
		return nil, nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(raw)
	return ca, key, err
}

// sign returns the key and the certificate of the engines, in PEM. They are clients of
// one another, too.
func sign(ca *x509.Certificate, caKey *ecdsa.PrivateKey, hosts []string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(hosts[0])
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	keyRaw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(encode("PRIVATE KEY", keyRaw), encode("CERTIFICATE", raw)...), nil
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(valid),
	}, nil
}

func encode(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}
