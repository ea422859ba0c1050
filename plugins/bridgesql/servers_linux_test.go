package bridgesql

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// A database's folder is made once for all tests: that is what takes long.
var (
	postgresFolder = sync.OnceValues(initPostgres)
	mysqlFolder    = sync.OnceValues(initMySQL)
	folders        []string
)

func removeFolders() {
	for _, dir := range folders {
		_ = os.RemoveAll(dir)
	}
}

// postgresProgram finds a program of PostgreSQL, which Debian keeps out of PATH.
func postgresProgram(name string) string {
	if file, err := exec.LookPath(name); err == nil {
		return file
	}
	if list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(list) > 0 {
		return list[len(list)-1]
	}
	return name // Tool says that it is missing
}

// unprivileged is the user that runs PostgreSQL, which root may not; nil: the test's own.
func unprivileged() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// folder makes a folder with a certificate, for a user.
func folder(as *syscall.SysProcAttr) (string, error) {
	dir, err := os.MkdirTemp("", "bridge-sql-")
	if err != nil {
		return "", err
	}
	folders = append(folders, dir)
	if err := writeCertificate(dir); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(password), 0o600); err != nil {
		return "", err
	}
	if as != nil {
		for _, name := range []string{"", "cert.pem", "key.pem", "password"} {
			if err := os.Chown(filepath.Join(dir, name), int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

func initPostgres() (string, error) {
	as := unprivileged()
	dir, err := folder(as)
	if err != nil {
		return "", err
	}
	cmd := exec.Command(postgresProgram("initdb"), "-D", filepath.Join(dir, "data"), "-U", "patchbay", "--auth-local=trust", "--auth-host=scram-sha-256",
		"--pwfile", filepath.Join(dir, "password"), "--no-sync", "--locale=C", "-E", "UTF8")
	cmd.SysProcAttr, cmd.Dir = as, dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, out)
	}
	return dir, nil
}

func initMySQL() (string, error) {
	dir, err := folder(nil)
	if err != nil {
		return "", err
	}
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(dir, "data"), "--auth-root-authentication-method=normal", "--skip-test-db"}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	if out, err := exec.Command("mariadb-install-db", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	return dir, nil
}

// startServer starts PostgreSQL or MariaDB. fsync is left out, since nobody cuts the power.
func startServer(t testing.TB, kind string) *server {
	t.Helper()
	s := &server{kind: kind, addr: bridgetest.FreeAddr(t)}
	var command func() *exec.Cmd
	_, port, _ := net.SplitHostPort(s.addr)
	if kind == "postgres" {
		program := bridgetest.Tool(t, postgresProgram("postgres"), "postgresql")
		s.dir = must(postgresFolder())(t)
		s.socket = filepath.Join(s.dir, ".s.PGSQL."+port)
		command = func() *exec.Cmd {
			cmd := exec.Command(program, "-D", filepath.Join(s.dir, "data"), "-k", s.dir, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
				"-c", "shared_buffers=16MB", "-c", "ssl=on", "-c", "ssl_cert_file="+s.ca(), "-c", "ssl_key_file="+filepath.Join(s.dir, "key.pem"))
			cmd.SysProcAttr, cmd.Dir = unprivileged(), s.dir
			return cmd
		}
	} else {
		program := bridgetest.Tool(t, "mariadbd", "mariadb-server")
		s.dir = must(mysqlFolder())(t)
		s.socket = filepath.Join(s.dir, "socket")
		command = func() *exec.Cmd {
			cmd := exec.Command(program, "--no-defaults", "--datadir="+filepath.Join(s.dir, "data"), "--socket="+s.socket, "--port="+port, "--bind-address=127.0.0.1",
				"--pid-file="+filepath.Join(s.dir, "pid"), "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=16M",
				"--ssl-cert="+s.ca(), "--ssl-key="+filepath.Join(s.dir, "key.pem"))
			if os.Getuid() == 0 {
				cmd.Args = append(cmd.Args, "--user=root")
			}
			return cmd
		}
	}
	s.Process = bridgetest.StartProcess(t, bridgetest.ProcessOptions{Name: kind, Command: command, Again: true, Ready: func() error { return s.ready() }})
	return s
}

func must(dir string, err error) func(t testing.TB) string {
	return func(t testing.TB) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
}
