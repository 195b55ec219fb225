package service

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/bookstore/deploy/stack/certificates"
)

// hosts are what the engines' certificate is good for.
var hosts = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "::1", "localhost"}

// Certificates makes those of a stack with TLS, once.
func (b *Builder) Certificates() error {
	if !b.Config.TLS {
		return nil
	}
	return certificates.Ensure(filepath.Join(b.Dir, "tls"), hosts...)
}

// extend puts one configuration file behind another.
func extend(dir, file, with string) error {
	first, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return err
	}
	second, err := os.ReadFile(filepath.Join(dir, with))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file), append(first, second...), 0o644)
}

// writeLogin writes the JAAS file with which a JVM logs in to Kafka, for its owner only.
// The password is in no other file of an engine, nor on a command line or in an
// environment.
func (b *Builder) writeLogin(name string, entries ...string) error {
	if !b.Config.TLS {
		return nil
	}
	var text strings.Builder
	for _, entry := range entries {
		text.WriteString(b.Config.Kafka.Login(entry))
	}
	if err := os.WriteFile(b.loginFile(name), []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("configuring %s: %w", name, err)
	}
	return nil
}

func (b *Builder) loginFile(name string) string { return filepath.Join(b.conf(name), "jaas.conf") }

// loginOption has a JVM read that file.
func (b *Builder) loginOption(name string) []string {
	if !b.Config.TLS {
		return nil
	}
	return []string{"-Djava.security.auth.login.config=" + b.loginFile(name)}
}

// scramIterations are as many as Kafka makes by itself.
const scramIterations = 4096

// scramUser is the argument of Kafka's StorageTool that makes the user, with which an
// empty data folder begins: nil without a password. The password itself is not in it.
func (b *Builder) scramUser() ([]string, error) {
	c := b.Config.Kafka
	if c.SASLPassword == "" {
		return nil, nil
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never returns an error
	salted, err := pbkdf2.Key(sha512.New, string(c.SASLPassword), salt, scramIterations, sha512.Size)
	if err != nil {
		return nil, err
	}
	encode := base64.StdEncoding.EncodeToString
	return []string{"--add-scram", fmt.Sprintf(`SCRAM-SHA-512=[name=%s,iterations=%d,salt="%s",saltedpassword="%s"]`,
		kafkaUser, scramIterations, encode(salt), encode(salted))}, nil
}

// kafkaUser is the one that deploy/tls.env names.
const kafkaUser = "bookstore"

// writeArguments writes arguments for java's @FILE, for its owner only.
func writeArguments(path string, arguments []string) error {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var text strings.Builder
	for _, argument := range arguments {
		fmt.Fprintf(&text, "\"%s\"\n", quote.Replace(argument))
	}
	return os.WriteFile(path, []byte(text.String()), 0o600)
}
