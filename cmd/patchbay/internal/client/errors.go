package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"

	"github.com/gorilla/websocket"
)

// Exit codes of the three commands.
const (
	exitRuntime = 1
	exitUsage   = 2
	exitTimeout = 27 // what mosquitto_sub -W and mosquitto_rr -W exit with
)

// exitError is an error that knows the exit code of the process.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// ExitCode is 1 for run-time errors, 2 for usage and 27 when -W ran out.
func (e *exitError) ExitCode() int { return e.code }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// runtimeError gives err exit code 1 unless it has a code already.
func runtimeError(err error) error {
	var coded *exitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return &exitError{exitRuntime, err}
}

// refusal is a negative answer of the broker: CONNACK, SUBACK, PUBACK, DISCONNECT.
type refusal struct {
	what   string // "connection refused"
	reason string // "Not authorized (0x87)"
	detail string // the broker's Reason String, may be empty
	advice string // what the user can do, may be empty
	// permanent says that asking again cannot help, so a subscriber must not reconnect.
	permanent bool
}

func (r *refusal) Error() string {
	text := r.what + ": " + r.reason
	if r.detail != "" {
		text += ": " + r.detail
	}
	if r.advice != "" {
		text += " (" + r.advice + ")"
	}
	return text
}

// explain turns what the network said into one line: what, where, what to do.
func (t target) explain(err error) error {
	var (
		dns      *net.DNSError
		record   tls.RecordHeaderError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		netErr   net.Error
	)
	hangup := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot connect to %s: connection refused (is the broker running?)", t)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot connect to %s: no such socket (is the broker running?)", t)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("cannot connect to %s: host name %q not found", t, dns.Name)
	case errors.As(err, &record), hangup && t.tls != nil:
		return fmt.Errorf("cannot connect to %s: no TLS answer (does the broker expect TLS on this port?)", t)
	case errors.Is(err, websocket.ErrBadHandshake), hangup && t.wsPath != "":
		return fmt.Errorf("cannot connect to %s: no WebSocket answer (is this a WebSocket listener, and %s its path?)", t, t.wsPath)
	case errors.As(err, &unknown):
		return fmt.Errorf("cannot connect to %s: the certificate is signed by an unknown authority (give its CA with --cafile)", t)
	case errors.As(err, &hostname):
		return fmt.Errorf("cannot connect to %s: %w (connect by that name, or --insecure)", t, hostname)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return fmt.Errorf("cannot connect to %s: no answer within %v", t, answerTimeout)
	}
	return fmt.Errorf("cannot connect to %s: %w", t, innermost(err))
}

// innermost strips the layers in which package net repeats the address.
func innermost(err error) error {
	var op *net.OpError
	for errors.As(err, &op) {
		err = op.Err
	}
	return err
}
