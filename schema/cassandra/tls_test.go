package cassandra

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// speakTLS listens with a certificate of its own, names it in a file, and ends each
// connection after the handshake, of which it tells.
func speakTLS(t *testing.T) (port int, caFile string, shakes <-chan error) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // makes a certificate for 127.0.0.1
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			done <- conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-ended })
	return listener.Addr().(*net.TCPAddr).Port, caFile, done
}

func TestTLSTrustsOnlyItsAuthority(t *testing.T) {
	port, ca, shakes := speakTLS(t)
	c := Config{Hosts: []string{"127.0.0.1"}, Port: port, Datacenter: "d", Timeout: 2 * time.Second, TLS: TLS{Enabled: true, CAFile: ca}}
	if _, err := c.Connect(t.Context()); err == nil || errors.Is(err, ErrCertificate) {
		t.Errorf("a certificate of the authority: %v, want an error after it", err)
	}
	if err := <-shakes; err != nil {
		t.Errorf("the server saw %v", err)
	}
	c.TLS.CAFile = "" // the system's, which know nothing of it
	if _, err := c.Connect(t.Context()); !errors.Is(err, ErrCertificate) {
		t.Errorf("a foreign certificate: %v", err)
	}
	c.TLS.CAFile, c.Hosts = ca, []string{"localhost"} // which the certificate does not name
	if _, err := c.Connect(t.Context()); !errors.Is(err, ErrCertificate) {
		t.Errorf("a certificate of another host: %v", err)
	}
}

func TestTLSFiles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		tls  TLS
		want string // in the error; none when empty
	}{
		{"off", TLS{CAFile: "nosuch"}, ""},
		{"the system's authorities", TLS{Enabled: true}, ""},
		{"no file", TLS{Enabled: true, CAFile: "nosuch"}, "CASSANDRA_TLS_CA"},
		{"no certificate in it", TLS{Enabled: true, CAFile: empty}, "no certificate in PEM"},
		{"half a certificate", TLS{Enabled: true, KeyFile: empty}, "CASSANDRA_TLS_CERTIFICATE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			options, err := test.tls.Options()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("err = %v, want %q", err, test.want)
			}
			if err == nil && (options != nil) != test.tls.Enabled {
				t.Errorf("options = %v", options)
			}
		})
	}
}
