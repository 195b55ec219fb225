package kafkaclient_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"example.com/bookstore/schema/kafkaclient"
)

// parse reads the settings as the programs do.
func parse(t *testing.T, environ map[string]string, args ...string) (kafkaclient.Config, error) {
	t.Helper()
	for _, name := range []string{
		"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD",
		"KAFKA_SSL_CA_LOCATION", "KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION",
	} {
		t.Setenv(name, environ[name])
	}
	var program struct {
		Kafka kafkaclient.Config `embed:"" prefix:"kafka-"`
	}
	parser, err := kong.New(&program)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return program.Kafka, err
}

func TestPlainByDefault(t *testing.T) {
	c, err := parse(t, map[string]string{
		"KAFKA_BOOTSTRAP_SERVERS": "k:1", "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
		"KAFKA_SASL_PASSWORD": "hush", "KAFKA_SSL_CA_LOCATION": "ca.pem",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	want := kafka.ConfigMap{"bootstrap.servers": "k:1", "security.protocol": "PLAINTEXT", "acks": "all"}
	if got := *c.ConfigMap(kafka.ConfigMap{"acks": "all"}); !maps.Equal(got, want) {
		t.Errorf("a client gets %v, want %v", got, want)
	}
	if got := c.SparkOptions(); !maps.Equal(got, map[string]string{"kafka.bootstrap.servers": "k:1"}) {
		t.Errorf("Spark gets %v", got)
	}
	if c.Login("KafkaClient") != "" {
		t.Error("there is a login though nobody logs in")
	}
}

func TestEncryptedWithUser(t *testing.T) {
	c, err := parse(t, map[string]string{
		"KAFKA_BOOTSTRAP_SERVERS": "k:1", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN",
		"KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": `hu"sh\`, "KAFKA_SSL_CA_LOCATION": "/ca.pem",
	}, "--kafka-ssl-certificate-location=/c.pem", "--kafka-ssl-key-location=/k.pem", "--kafka-sasl-mechanism=SCRAM-SHA-512")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	want := kafka.ConfigMap{
		"bootstrap.servers": "k:1", "security.protocol": "SASL_SSL",
		"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": `hu"sh\`,
		"ssl.ca.location": "/ca.pem", "ssl.certificate.location": "/c.pem", "ssl.key.location": "/k.pem",
	}
	if got := *c.ConfigMap(nil); !maps.Equal(got, want) {
		t.Errorf("a client gets %v, want %v", got, want)
	}
	options := c.SparkOptions()
	if !maps.Equal(options, map[string]string{
		"kafka.bootstrap.servers": "k:1", "kafka.security.protocol": "SASL_SSL", "kafka.sasl.mechanism": "SCRAM-SHA-512",
		"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": "/ca.pem",
	}) {
		t.Errorf("Spark gets %v", options)
	}
	if got := c.Login("KafkaClient"); !strings.Contains(got, "ScramLoginModule") || !strings.Contains(got, `password="hu\"sh\\"`) {
		t.Errorf("the JAAS file is %s", got)
	}
	c.SASLMechanism = "PLAIN"
	if got := c.Login("KafkaClient"); !strings.Contains(got, "PlainLoginModule") {
		t.Errorf("the JAAS file is %s", got)
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, `hu"sh`) || strings.Contains(text, `hu\"sh`) {
			t.Errorf("the password shows: %s", text)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		config kafkaclient.Config
		want   []string
	}{
		{"no brokers", kafkaclient.Config{}, []string{"--kafka-bootstrap-servers"}},
		{"no user", kafkaclient.Config{BootstrapServers: "k", SecurityProtocol: kafkaclient.SASLSSL}, []string{"--kafka-sasl-username", "KAFKA_SASL_PASSWORD"}},
		{"half a certificate", kafkaclient.Config{BootstrapServers: "k", SecurityProtocol: kafkaclient.SSL, KeyFile: "k"}, []string{"one without the other"}},
		{"encrypted, no user", kafkaclient.Config{BootstrapServers: "k", SecurityProtocol: kafkaclient.SSL}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.config.Validate()
			if (err == nil) != (test.want == nil) {
				t.Errorf("err = %v", err)
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("err = %v, want it to name %s", err, want)
				}
			}
		})
	}
	if _, err := parse(t, map[string]string{"KAFKA_BOOTSTRAP_SERVERS": "k", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SECURITY_PROTOCOL": "TLS"}); err == nil {
		t.Error("a protocol that Kafka does not have is taken")
	}
}

// librdkafka itself must know each of the settings.
func TestClientTakesThem(t *testing.T) {
	c := kafkaclient.Config{
		BootstrapServers: "127.0.0.1:1", SecurityProtocol: kafkaclient.SASLSSL,
		SASLMechanism: "SCRAM-SHA-512", SASLUsername: "u", SASLPassword: "hush",
	}
	client, err := kafka.NewAdminClient(c.ConfigMap(kafka.ConfigMap{"log_level": 0}))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}
