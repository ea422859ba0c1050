package bridgekafka

import (
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Remote   Remote   `json:"remote" required:"true" doc:"The Kafka cluster."`
	Producer Producer `json:"producer" doc:"How records are written."`
	Routes   []Route  `json:"routes" doc:"What goes to Kafka." max:"200"`
	From     []Source `json:"from" doc:"What comes from Kafka." max:"200"`
	Loops    Loops    `json:"loops" doc:"What keeps messages from going round."`
}

// Remote is the Kafka cluster.
type Remote struct {
	Name           string       `json:"name" doc:"Name of the cluster, the same in all bridges to it: that is how loops are found." default:"kafka" min:"1" max:"128"`
	Brokers        []string     `json:"brokers" required:"true" doc:"Some of its brokers, to begin with: HOST:PORT, or HOST for port 9092." example:"kafka-1:9092,kafka-2:9092" min:"1" max:"64"`
	ClientID       string       `json:"client_id" doc:"Client id at Kafka, for its quotas and logs. Absent: NODE-PLUGIN." max:"249"`
	SASL           SASL         `json:"sasl" doc:"Who the bridge is."`
	TLS            TLS          `json:"tls" doc:"TLS to all brokers."`
	ConnectTimeout sdk.Duration `json:"connect_timeout" doc:"How long a connection may take to come about." default:"10s" min:"100ms" max:"5m"`
	RequestTimeout sdk.Duration `json:"request_timeout" doc:"How long Kafka may take for a record, and for how much longer an answer is waited for before the connection is given up." default:"10s" min:"100ms" max:"5m"`
}

// SASL is who the bridge is.
type SASL struct {
	Mechanism string     `json:"mechanism" doc:"none, plain, scram-sha-256 or scram-sha-512. plain without TLS shows the password to whoever is on the way." enum:"none,plain,scram-sha-256,scram-sha-512" default:"none"`
	Username  string     `json:"username" doc:"User name at Kafka."`
	Password  sdk.Secret `json:"password" doc:"Password at Kafka."`
}

// TLS of the connections.
type TLS struct {
	Enabled            bool   `json:"enabled" doc:"Speak TLS. The other keys need it."`
	CAFile             string `json:"ca_file" doc:"PEM file of authorities that the brokers' certificates must lead to. Absent: the system's."`
	CertFile           string `json:"cert_file" doc:"PEM file of the bridge's own certificate, with cert_key_file."`
	KeyFile            string `json:"cert_key_file" doc:"PEM file of its key."`
	ServerName         string `json:"server_name" doc:"Name that the certificates must have. Absent: each broker's host."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify" doc:"Take any certificate. Whoever is on the way can read and change everything."`
}

// Producer is how records are written.
type Producer struct {
	Acks         string   `json:"acks" doc:"When Kafka says that it has a record: all (its replicas in sync have it; each record once, by the idempotent producer), or leader (one broker has it, and what only that one has is lost with it)." enum:"all,leader" default:"all"`
	Compression  string   `json:"compression" doc:"Of batches." enum:"none,gzip,snappy,lz4,zstd" default:"none"`
	MaxBatch     sdk.Size `json:"max_batch" doc:"The largest batch to write; a record that does not fit alone becomes a dead letter. Not more than message.max.bytes of Kafka." default:"1000012" min:"1KiB" max:"64MiB"`
	CreateTopics bool     `json:"create_topics" doc:"Ask Kafka to create topics that there are not; it has to allow that (auto.create.topics.enable)."`
}

// Route is what goes to Kafka.
type Route struct {
	bridge.Route
	Topic          template.Text            `json:"topic" required:"true" doc:"Kafka topic: 1 to 249 of letters, digits, \".\", \"_\" and \"-\"." example:"plant.${topic[2]}"`
	Key            template.Text            `json:"key" doc:"Key of the record. Those of one key are in one partition, in order. Empty: no key, any partition, and no order." default:"${topic}"`
	Partition      template.Text            `json:"partition" doc:"Number of the partition. Absent or empty: by the key, as Kafka's own clients do (murmur2)." example:"${payload.line|int}"`
	Value          template.JSON            `json:"value" doc:"JSON of the record's value, in place of the payload alone." example:"{\"topic\":\"${topic}\",\"at\":\"${timestamp}\",\"data\":${payload|parse}}"`
	Headers        map[string]template.Text `json:"headers" doc:"Headers of the record by name. One without a value is left out." max:"256"`
	UserProperties bool                     `json:"user_properties" doc:"User Properties of MQTT 5 become headers too." default:"true"`
	Tombstones     bool                     `json:"tombstones" doc:"An empty payload becomes a record without a value: in a compacted topic it takes back what the key had."`
}

// Source is what comes from Kafka.
type Source struct {
	Name           string         `json:"name" required:"true" doc:"Name of the route, unique in the bridge: 1 to 64 of a-z, 0-9 and \"-\"." min:"1" max:"64"`
	Topics         []string       `json:"topics" doc:"Kafka topics." max:"1000"`
	Pattern        string         `json:"pattern" doc:"A regular expression (RE2) for names of Kafka topics, in place of topics; new ones are found within a minute." example:"^plant\\..*"`
	Group          string         `json:"group" required:"true" doc:"Consumer group: Kafka keeps for it what has been delivered, and shares the partitions among all that are in it." min:"1" max:"249"`
	Instance       string         `json:"instance" doc:"group.instance.id of this bridge in the group, unique there: it keeps its partitions through a restart. Absent: the group shares them anew each time." max:"249"`
	Start          string         `json:"start" doc:"Where a group begins that has delivered nothing: earliest (all that there is) or latest (what comes from now on)." enum:"earliest,latest" default:"earliest"`
	Topic          template.Text  `json:"topic" required:"true" doc:"Topic Name here. ${topic} is the Kafka topic, ${timestamp} the record's, ${user_property.NAME} a header, ${user_property.kafka_key}, kafka_partition and kafka_offset the record's place." example:"kafka/${topic}/${user_property.kafka_key}"`
	QoS            uint32         `json:"qos" doc:"QoS of the messages." default:"1" max:"2"`
	Retain         bool           `json:"retain" doc:"RETAIN flag of the messages; then a record without a value takes the retained message back."`
	Namespace      string         `json:"namespace" doc:"Namespace into which they are published."`
	Codec          template.Codec `json:"codec" doc:"What a value is in Kafka: raw (the payload), json (the payload, and must be JSON), base64 (of the payload)." default:"raw"`
	UserProperties bool           `json:"user_properties" doc:"Headers become User Properties: as text, or base64 if they are not UTF-8." default:"true"`
	Metadata       bool           `json:"metadata" doc:"Add the User Properties kafka_topic, kafka_partition, kafka_offset, kafka_key and kafka_timestamp."`
	MaxFetch       sdk.Size       `json:"max_fetch" doc:"How much to have of each Kafka broker at once, compressed; a larger batch comes alone." default:"8MiB" min:"64KiB" max:"64MiB"`
	CommitInterval sdk.Duration   `json:"commit_interval" doc:"How often Kafka is told what has been delivered: after a crash, what it has not been told of comes again." default:"1s" min:"100ms" max:"1m"`
	SessionTimeout sdk.Duration   `json:"session_timeout" doc:"How long Kafka waits for a bridge that has died before others get its partitions. The brokers say what it may be (6s to 30m)." default:"15s" min:"1s" max:"30m"`
	RetryMin       sdk.Duration   `json:"retry_min" doc:"Pause after a failure; it doubles each time." default:"500ms" min:"10ms"`
	RetryMax       sdk.Duration   `json:"retry_max" doc:"The longest pause." default:"30s" min:"10ms" max:"1h"`
}

// Loops is what keeps messages from going round.
type Loops struct {
	Node    string `json:"node" doc:"Name of this broker in paths. Absent: its node name, that of the host. Two brokers must not have the same." max:"128"`
	MaxHops uint32 `json:"max_hops" doc:"Over how many bridges a message may go, and how often programs may pass a record on that comes here again." default:"8" min:"1" max:"8"`
	Off     bool   `json:"off" doc:"Do not mark records, and do not look at marks."`
}
