package mosquittoconf

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

// Each testdata/*.conf with what becomes of it: the configuration, the report, and files.
func TestGolden(t *testing.T) {
	t.Chdir("testdata")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob("*.conf")
	if err != nil || len(list) < 7 {
		t.Fatal(list, err)
	}
	for _, name := range list {
		t.Run(name, func(t *testing.T) {
			all, err := readEntries(name)
			if err != nil {
				t.Fatal(err)
			}
			c := convert(all, "/etc/patchbay", "plant7")
			var out strings.Builder
			out.WriteString(c.yaml(name) + "\n---- report\n")
			if err := c.write(&out, c.order()); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.files {
				out.WriteString("\n---- " + f.name + "\n" + string(f.text))
			}
			got := strings.ReplaceAll(out.String(), here, "HERE")
			golden := strings.TrimSuffix(name, ".conf") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("not as in %s (-update writes it):\n%s", golden, got)
			}
			checkAll(t, c)
		})
	}
}

// checkAll checks that every line is accounted for, that the result is YAML, and that no
// secret is in it.
func checkAll(t *testing.T, c *converter) {
	t.Helper()
	for _, e := range c.entries {
		if !e.taken {
			t.Errorf("%s: %s is not accounted for", e.place(), e.key)
		}
	}
	text := c.yaml("x")
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	var report strings.Builder
	if err := c.write(&report, c.order()); err != nil {
		t.Error(err)
	}
	for _, e := range c.entries {
		if strings.HasSuffix(e.key, "password") && len(e.value) > 2 && strings.Contains(text+report.String(), e.value) {
			t.Errorf("%s is shown", e.key)
		}
	}
}

// Every key that mosquitto.conf(5) of 2.0 has is known.
func TestEveryKey(t *testing.T) {
	const keys = `acl_file address addresses allow_anonymous allow_duplicate_messages allow_zero_length_clientid auth_opt_x auth_plugin
		auth_plugin_deny_special_chars auto_id_prefix autosave_interval autosave_on_changes bind_address bind_interface bridge_alpn
		bridge_attempt_unsubscribe bridge_bind_address bridge_cafile bridge_capath bridge_certfile bridge_identity bridge_insecure bridge_keyfile
		bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version bridge_psk bridge_require_ocsp bridge_tls_version
		cafile capath certfile check_retain_source ciphers ciphers_tls1.3 cleansession clientid clientid_prefixes connection_messages crlfile
		dhparamfile http_dir idle_timeout keepalive_interval keyfile local_cleansession local_clientid local_password local_username
		log_dest log_facility log_timestamp log_timestamp_format log_type max_connections max_inflight_bytes max_inflight_messages
		max_keepalive max_packet_size max_qos max_queued_bytes max_queued_messages max_topic_alias memory_limit message_size_limit
		mount_point notification_topic notifications notifications_local_only password password_file per_listener_settings persistence persistence_file
		persistence_location persistent_client_expiration pid_file plugin plugin_opt_x port protocol psk_file psk_hint queue_qos0_messages
		remote_clientid remote_password remote_username require_certificate restart_timeout retain_available round_robin set_tcp_nodelay socket_domain
		start_type sys_interval threshold tls_engine tls_engine_kpass_sha1 tls_keyform tls_version topic try_private upgrade_outgoing_qos
		use_identity_as_username use_subject_as_username use_username_as_clientid user username websockets_headers_size websockets_log_level`
	for key := range strings.FieldsSeq(keys) {
		c := convert(parseEntries("m.conf", "listener 1883\nconnection x\n"+key+" 1\n"), "", "")
		for _, n := range c.notes {
			if strings.Contains(n.text, "no such key") {
				t.Errorf("%s: %s", key, n.text)
			}
		}
	}
}

// A listener is never opened without the protection that it has, whatever comes.
func FuzzConvert(f *testing.F) {
	list, _ := filepath.Glob("testdata/*.conf")
	for _, name := range list {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		all := parseEntries("m.conf", text)
		c := convert(all, "/etc/patchbay", "plant7")
		for _, e := range all {
			if e.key != "include_dir" && !e.taken {
				t.Errorf("%s: %s is not accounted for", e.place(), e.key)
			}
		}
		var v struct {
			Listeners []map[string]any
			Plugins   []struct{ Name string }
		}
		if out := c.yaml("x"); yaml.Unmarshal([]byte(out), &v) != nil && !strings.ContainsRune(text, '\ufffd') {
			t.Errorf("no YAML:\n%s", out)
		}
		protected := false
		for _, p := range v.Plugins {
			protected = protected || p.Name == "authfile"
		}
		for _, l := range v.Listeners {
			for network := range l {
				if (network == "tcp" || network == "ws") && (strings.Contains(text, "password_file x") && !c.separate) && !protected {
					t.Errorf("%v is open", l)
				}
			}
		}
	})
}

func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := &cobra.Command{Use: "patchbay", SilenceErrors: true}
	cmd.AddCommand(Command(func(*config.Plugin) error { return nil }))
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(append([]string{"import"}, args...))
	err = cmd.Execute()
	return out.String(), errs.String(), err
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	conf, out := filepath.Join(dir, "mosquitto.conf"), filepath.Join(dir, "new", "folder")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("listener 1883\nallow_anonymous true\npid_file x\nconnection c\naddress a\ntopic #\nremote_username u\nremote_password hush\n")
	stdout, stderr, err := run(t, conf)
	if err != nil || !strings.Contains(stdout, `tcp: ":1883"`) || !strings.Contains(stderr, ":3: pid_file: ") || strings.Contains(stdout+stderr, "hush") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	stdout, _, err = run(t, conf, "-o", out)
	if err != nil || !strings.Contains(stdout, "patchbay.yaml: ok; lines not carried over: 1") {
		t.Errorf("%v\n%s", err, stdout)
	}
	for name, want := range map[string]string{"patchbay.yaml": "bridge-mqtt", "import.txt": "pid_file", "bridge-c.password": "hush"} {
		path := filepath.Join(out, name)
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v %s", name, err, text)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
	var usage interface{ ExitCode() int }
	if _, _, err = run(t, conf, "-o", out); err == nil || !strings.Contains(err.Error(), "is there already; --force replaces it") {
		t.Errorf("%v", err)
	} else if usage, _ = err.(interface{ ExitCode() int }); usage == nil || usage.ExitCode() != 2 {
		t.Errorf("%T", err)
	}
	write("listener 1883\nallow_anonymous true\nlistener 1883\n")
	if _, _, err = run(t, conf, "-o", out, "--force"); err == nil || !strings.Contains(err.Error(), "is written, and needs to be mended") {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"include_dir " + filepath.Join(dir, "absent"), ""} {
		write(text)
		if text == "" {
			conf = dir
		}
		if _, _, err := run(t, conf); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestIncludeOrder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf", "c.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("user "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := readFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, e.value)
	}
	if want := "00.conf 01.conf A.conf a.conf B.conf b.conf"; strings.Join(got, " ") != want {
		t.Errorf("%v", got)
	}
}
