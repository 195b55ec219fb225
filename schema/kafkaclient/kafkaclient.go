// Package kafkaclient says once how a program of ours reaches Kafka: where the brokers
// are, whether the way there is encrypted, and who asks. It stands at both ends of the
// topic on the data's path: the store, the driver, Spark and the tools all take their
// settings from its Config.
package kafkaclient

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema/secret"
)

// Kafka's own names of how a listener is spoken to.
const (
	Plaintext     = "PLAINTEXT"
	SSL           = "SSL"
	SASLPlaintext = "SASL_PLAINTEXT"
	SASLSSL       = "SASL_SSL"
)

// Config is read by kong, from flags and environment, as a field with the tags
// embed:"" and prefix:"kafka-". Its zero value but for the brokers is a connection
// without encryption and user.
type Config struct {
	BootstrapServers string        `env:"KAFKA_BOOTSTRAP_SERVERS" default:"127.0.0.1:9092" placeholder:"HOST:PORT,..." help:"Brokers to ask first, host:port, comma separated (${env})."`
	SecurityProtocol string        `env:"KAFKA_SECURITY_PROTOCOL" default:"PLAINTEXT" enum:"PLAINTEXT,SSL,SASL_PLAINTEXT,SASL_SSL" help:"How the brokers are spoken to: ${enum} (${env})."`
	SASLMechanism    string        `name:"sasl-mechanism" env:"KAFKA_SASL_MECHANISM" default:"SCRAM-SHA-512" enum:"SCRAM-SHA-512,SCRAM-SHA-256,PLAIN" help:"How the user logs in, with a SASL protocol: ${enum} (${env})."`
	SASLUsername     string        `name:"sasl-username" env:"KAFKA_SASL_USERNAME" placeholder:"NAME" help:"User, with a SASL protocol (${env})."`
	SASLPassword     secret.String `name:"sasl-password" env:"KAFKA_SASL_PASSWORD" placeholder:"PASSWORD" help:"The user's password; better set in the environment (${env})."`
	CAFile           string        `name:"ssl-ca-location" env:"KAFKA_SSL_CA_LOCATION" placeholder:"FILE" help:"Certificates, PEM, of those who may vouch for a broker; by default the system's (${env})."`
	CertificateFile  string        `name:"ssl-certificate-location" env:"KAFKA_SSL_CERTIFICATE_LOCATION" placeholder:"FILE" help:"Certificate of this client, PEM, for brokers that ask for one (${env})."`
	KeyFile          string        `name:"ssl-key-location" env:"KAFKA_SSL_KEY_LOCATION" placeholder:"FILE" help:"Its key, PEM (${env})."`
}

// Encrypted reports whether the way to the brokers is.
func (c Config) Encrypted() bool {
	return c.SecurityProtocol == SSL || c.SecurityProtocol == SASLSSL
}

// LogsIn reports whether a user and a password are asked for.
func (c Config) LogsIn() bool {
	return c.SecurityProtocol == SASLPlaintext || c.SecurityProtocol == SASLSSL
}

// Validate reports every setting with which no broker could be reached.
func (c Config) Validate() error {
	var errs []error
	if c.BootstrapServers == "" {
		errs = append(errs, errors.New("--kafka-bootstrap-servers: is empty"))
	}
	if c.LogsIn() && c.SASLUsername == "" {
		errs = append(errs, fmt.Errorf("--kafka-sasl-username: is empty, and %s asks for a user", c.SecurityProtocol))
	}
	if c.LogsIn() && c.SASLPassword == "" {
		errs = append(errs, fmt.Errorf("KAFKA_SASL_PASSWORD: is empty, and %s asks for a password", c.SecurityProtocol))
	}
	if (c.CertificateFile == "") != (c.KeyFile == "") {
		errs = append(errs, errors.New("--kafka-ssl-certificate-location and --kafka-ssl-key-location: one without the other"))
	}
	return errors.Join(errs...)
}

// ConfigMap returns the settings of a client that connects so, with those of its own
// added.
func (c Config) ConfigMap(own kafka.ConfigMap) *kafka.ConfigMap {
	all := kafka.ConfigMap{"bootstrap.servers": c.BootstrapServers}
	if c.SecurityProtocol != "" {
		all["security.protocol"] = c.SecurityProtocol
	}
	if c.LogsIn() {
		all["sasl.mechanism"] = c.SASLMechanism
		all["sasl.username"] = c.SASLUsername
		all["sasl.password"] = string(c.SASLPassword)
	}
	if c.Encrypted() {
		for name, file := range map[string]string{
			"ssl.ca.location": c.CAFile, "ssl.certificate.location": c.CertificateFile, "ssl.key.location": c.KeyFile,
		} {
			if file != "" {
				all[name] = file
			}
		}
	}
	maps.Copy(all, own)
	return &all
}

// SparkOptions returns the options with which a Kafka source or sink of Spark connects
// so. The file is one that Spark's driver and executors can read.
//
// The password is not among them: Spark shows a query's options on its pages. The JVMs
// of Spark get it from a file of their own, with -Djava.security.auth.login.config.
func (c Config) SparkOptions() map[string]string {
	options := map[string]string{"kafka.bootstrap.servers": c.BootstrapServers}
	if c.Encrypted() || c.LogsIn() {
		options["kafka.security.protocol"] = c.SecurityProtocol
	}
	if c.LogsIn() {
		options["kafka.sasl.mechanism"] = c.SASLMechanism
	}
	if c.Encrypted() && c.CAFile != "" {
		options["kafka.ssl.truststore.type"] = "PEM"
		options["kafka.ssl.truststore.location"] = c.CAFile
	}
	return options
}

// Login returns the entry of a JAAS file with which a JVM logs in as the user: KafkaClient
// such as Spark's, KafkaServer a broker. It is empty where nobody logs in.
func (c Config) Login(entry string) string {
	if !c.LogsIn() {
		return ""
	}
	module := "org.apache.kafka.common.security.scram.ScramLoginModule"
	if c.SASLMechanism == "PLAIN" {
		module = "org.apache.kafka.common.security.plain.PlainLoginModule"
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return fmt.Sprintf("%s {\n  %s required\n  username=\"%s\"\n  password=\"%s\";\n};\n",
		entry, module, quote.Replace(c.SASLUsername), quote.Replace(string(c.SASLPassword)))
}
