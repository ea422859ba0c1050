package bridgekafka

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// missing skips the test, or fails it where all tools have to be there.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("TEST_TOOLS") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// jars is the folder of the real Kafka, which testdata/kafka/fetch.sh fetches.
func jars(t *testing.T) string {
	t.Helper()
	pom, err := os.ReadFile("testdata/kafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile("<kafka.version>(.*)</kafka.version>").FindSubmatch(pom)[1]
	cache, err := os.UserCacheDir()
	if err != nil {
		missing(t, "%v", err)
	}
	dir := filepath.Join(cache, "patchbay", "kafka-"+string(version))
	if _, err := os.Stat(dir); err != nil {
		missing(t, "there is no Kafka in %s: plugins/bridgekafka/testdata/kafka/fetch.sh fetches it", dir)
	}
	return dir
}

// realKafka makes the command of a Kafka of one node, with more lines of its config, of which
// the last of a name counts, and more arguments for what makes its folder.
func realKafka(t *testing.T, more string, format ...string) func(addr, advertised string) func() *exec.Cmd {
	java, lib := bridgetest.Tool(t, "java", "default-jre-headless"), jars(t)
	logging, err := filepath.Abs("testdata/kafka/log4j2.properties")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return func(addr, advertised string) func() *exec.Cmd {
		controller := bridgetest.FreeAddr(t)
		text := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[1]s
listeners=PLAINTEXT://%[2]s,CONTROLLER://%[1]s
advertised.listeners=PLAINTEXT://%[3]s
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%[4]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.min.session.timeout.ms=1000
group.initial.rebalance.delay.ms=0
num.partitions=4
# A node that was killed comes back as itself; it is fenced until its session has ended.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# kill -9 of the machine is not what is tried here, but of the process.
log.flush.interval.messages=9223372036854775807
`, controller, addr, advertised, filepath.Join(dir, "data")) + strings.NewReplacer("CONTROLLER_ADDR", controller, "ADVERTISED", advertised, "ADDR", addr).Replace(more)
		config := filepath.Join(dir, "server.properties")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run := func(class string, args ...string) *exec.Cmd {
			return exec.Command(java, append([]string{
				"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + logging, "-cp", lib + "/*", class,
			}, args...)...)
		}
		if out, err := run("kafka.tools.StorageTool", append([]string{"format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", config}, format...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return func() *exec.Cmd { return run("kafka.Kafka", config) }
	}
}

// startReal starts a real Kafka with topics "out" and "in" of 4 partitions.
func startReal(t *testing.T, more string, format ...string) *far {
	f := kafkaProcess(t, realKafka(t, more, format...))
	c := kadm.NewClient(kafkaClient(t, f.net.Addr, f.direct))
	bridgetest.Eventually(t, "Kafka has its topics", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := c.CreateTopics(ctx, 4, 1, nil, "out", "in"); err != nil {
			return err
		}
		topics, err := c.ListTopics(ctx, "out", "in")
		if err != nil {
			return err
		}
		return topics.Error()
	})
	return f
}

// secured are lines for a listener with TLS and logins, whose users may do what ACLs say.
const secured = `listeners=PLAINTEXT://ADDR,CONTROLLER://CONTROLLER_ADDR,SECURE://SECURE_ADDR
advertised.listeners=PLAINTEXT://ADVERTISED,SECURE://SECURE_ADDR
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_u="p";
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=STORE
listener.name.secure.ssl.truststore.type=PEM
listener.name.secure.ssl.truststore.location=TRUST
listener.name.secure.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
`

// A real Kafka takes every login over TLS with certificates of both sides, from a user that
// may do no more than the README says.
func TestRealSecure(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _ := certificate(t)
	var pem []byte
	for _, file := range []string{keyFile, certFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pem = append(pem, text...)
	}
	store := filepath.Join(t.TempDir(), "store.pem")
	if err := os.WriteFile(store, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	secure := bridgetest.FreeAddr(t)
	f := startReal(t, strings.NewReplacer("SECURE_ADDR", secure, "STORE", store, "TRUST", certFile).Replace(secured),
		"--add-scram", "SCRAM-SHA-256=[name=u,password=p256]", "--add-scram", "SCRAM-SHA-512=[name=u,password=p512]")
	admin := kadm.NewClient(kafkaClient(t, f.net.Addr))
	for _, acl := range []*kadm.ACLBuilder{
		kadm.NewACLs().Allow("User:u").Topics("out").Operations(kadm.OpWrite, kadm.OpDescribe),
		kadm.NewACLs().Allow("User:u").Topics("in").Operations(kadm.OpRead, kadm.OpDescribe),
		kadm.NewACLs().Allow("User:u").Groups("g").Operations(kadm.OpRead),
	} {
		res, err := admin.CreateACLs(t.Context(), acl.AllowHosts().ResourcePatternType(kadm.ACLPatternLiteral))
		if err != nil || len(res) == 0 || res[0].Err != nil {
			t.Fatal(res, err)
		}
	}
	n := startNode(t)
	p, sub := connect(t, n.addr, "p"), connect(t, n.addr, "s").subscribe("from/#")
	for i, login := range []string{`"plain","password":"p"`, `"scram-sha-256","password":"p256"`, `"scram-sha-512","password":"p512"`} {
		n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q],"tls":{"enabled":true,"ca_file":%q,"cert_file":%q,"cert_key_file":%q},"sasl":{"username":"u","mechanism":%s}},
			"routes":[{"name":"out","filters":["out/#"],"topic":"out","ack":"after_remote"},{"name":"no","filters":["no/#"],"topic":"in","max_attempts":1,"dead_letter_topic":"from/dead"}],
			"from":[{"name":"in","topics":["in"],"group":"g","topic":"from/${topic}","session_timeout":"1s","commit_interval":"100ms"}]}`, secure, certFile, certFile, keyFile, login))
		if code := p.say("out/1", login); code >= 0x80 {
			t.Fatalf("%s: 0x%02X\n%s", login, code, n.log)
		}
		produce(t, f.net.Addr, &kgo.Record{Topic: "in", Value: []byte(login)})
		if m := sub.expect(i + 1)[i]; string(m.Payload) != login {
			t.Errorf("%s in place of %s", m.Payload, login)
		}
	}
	if list := read(t, f.net.Addr, "out").expect(3); string(list[2].Value) != `"scram-sha-512","password":"p512"` {
		t.Errorf("%s", list[2].Value)
	}
	p.say("no/1", "x")
	if d := sub.expect(4)[3]; d.Topic != "from/dead" || !strings.Contains(d.Properties.User.Get("patchbay-reason"), "TOPIC_AUTHORIZATION_FAILED") {
		t.Errorf("%s: %s", d.Topic, d.Properties.User)
	}
}

// A real Kafka takes what the bridge writes in every compression, refuses what is too large
// for it, makes topics, and gives back what there is.
func TestRealKafka(t *testing.T) {
	t.Parallel()
	f := startReal(t, "")
	addr := f.net.Addr
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Patience)
	defer cancel()
	small := "100000"
	if _, err := kadm.NewClient(kafkaClient(t, addr)).CreateTopics(ctx, 1, 1, map[string]*string{"max.message.bytes": &small}, "small"); err != nil {
		t.Fatal(err)
	}
	n := startNode(t)
	p := connect(t, n.addr, "p")
	var want []string
	for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q]},"producer":{"compression":%q,"create_topics":true},"routes":[
			{"name":"out","filters":["out/#"],"topic":"out","ack":"after_remote"},
			{"name":"new","filters":["new/#"],"topic":"new.${topic[2]}"},
			{"name":"small","filters":["small/#"],"topic":"small","dead_letter_topic":"dead"}],
			"from":[{"name":"in","topics":["in"],"group":"g","topic":"from/${topic}","session_timeout":"1s","commit_interval":"100ms"}]}`, addr, compression))
		for i := range 20 {
			text := fmt.Sprint(compression, i, strings.Repeat("x", 100))
			if code := p.say("out/1", text); code >= 0x80 {
				t.Fatalf("0x%02X\n%s", code, n.log)
			}
			want = append(want, text)
		}
	}
	var got []string
	for _, r := range read(t, addr, "out").expect(len(want)) {
		got = append(got, string(r.Value))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records, or not in order", len(got))
	}
	p.say("new/a", "first")
	if r := read(t, addr, "new.a").expect(1); string(r[0].Value) != "first" {
		t.Errorf("%s", r[0].Value)
	}
	dead := connect(t, n.addr, "dead").subscribe("dead")
	sizes := []int{1, 1, 200_000, 1, 1}
	for i, size := range sizes {
		p.say("small/1", fmt.Sprint(i)+noise(size))
	}
	if d := dead.expect(1)[0]; d.Payload[0] != '2' || !strings.Contains(d.Properties.User.Get("patchbay-reason"), "MESSAGE_TOO_LARGE") {
		t.Errorf("%.10s: %s", d.Payload, d.Properties.User)
	}
	order := ""
	for _, r := range read(t, addr, "small").expect(4) {
		order += string(r.Value[:1])
	}
	if order != "0134" {
		t.Errorf("order %s", order)
	}
	sub := connect(t, n.addr, "s").subscribe("from/#")
	produce(t, addr, &kgo.Record{Topic: "in", Partition: 3, Value: []byte("a")}, &kgo.Record{Topic: "in", Partition: 3, Value: []byte("b")})
	if m := sub.expect(2); m[0].Topic != "from/in" || payloads(m) != "ab" {
		t.Errorf("%s", payloads(m))
	}
	bridgetest.Eventually(t, "what is delivered is committed", func() error {
		offsets, err := kadm.NewClient(kafkaClient(t, addr)).FetchOffsets(ctx, "g")
		if err == nil && offsets["in"][3].At != 2 {
			err = fmt.Errorf("%+v", offsets)
		}
		return err
	})
}

// noise is text that does not become small.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = ' ' + byte(x>>16)%94
	}
	return string(b)
}

func payloads(list []*paho.Publish) string {
	text := ""
	for _, p := range list {
		text += string(p.Payload)
	}
	return text
}

// long skips a test that is for figures: a JVM takes its time to come back.
func long(t *testing.T) {
	t.Helper()
	if f := flag.Lookup("chaos.kills"); f.Value.String() == f.DefValue {
		t.Skip("it takes minutes: go test -run RealChaos -args -chaos.kills 10")
	}
	t.Parallel()
}

func TestRealChaosOut(t *testing.T) {
	long(t)
	chaosOut(t, startReal(t, ""))
}

func TestRealChaosIn(t *testing.T) {
	long(t)
	chaosIn(t, startReal(t, ""), "1s")
}
