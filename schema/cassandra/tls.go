package cassandra

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/gocql/gocql"
)

// ErrCertificate says that a node answered and its certificate was refused, or that it
// refused ours.
var ErrCertificate = errors.New("certificate refused")

// TLS says how the way to Cassandra is encrypted. Kong reads it, as a field with the
// tags embed:"" and prefix:"cassandra-". Its zero value is no encryption.
//
// A node's certificate must name the host that is connected to.
type TLS struct {
	Enabled         bool   `name:"tls" env:"CASSANDRA_TLS" help:"Speak to Cassandra over TLS (${env})."`
	CAFile          string `name:"tls-ca" env:"CASSANDRA_TLS_CA" placeholder:"FILE" help:"Certificates, PEM, of those who may vouch for a node; by default the system's (${env})."`
	CertificateFile string `name:"tls-certificate" env:"CASSANDRA_TLS_CERTIFICATE" placeholder:"FILE" help:"Certificate of this client, PEM, for nodes that ask for one (${env})."`
	KeyFile         string `name:"tls-key" env:"CASSANDRA_TLS_KEY" placeholder:"FILE" help:"Its key, PEM (${env})."`
}

// Options returns what gocql makes of it, nil for no encryption.
func (t TLS) Options() (*gocql.SslOptions, error) {
	if !t.Enabled {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading CASSANDRA_TLS_CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("reading CASSANDRA_TLS_CA: %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertificateFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertificateFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading CASSANDRA_TLS_CERTIFICATE and CASSANDRA_TLS_KEY: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &gocql.SslOptions{Config: config, EnableHostVerification: true}, nil
}
