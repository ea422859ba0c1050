package serve

import (
	"fmt"
	"slices"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/admin"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// reload reads the configuration again and applies what needs no restart. On an
// error nothing has changed.
func (p *program) reload() (admin.ReloadResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	result := admin.ReloadResult{Applied: []string{}, NeedRestart: []string{}}
	next, meta, err := config.Load(p.src)
	if err != nil {
		return result, err
	}
	// Whether plugins decide who may connect shows when they run.
	if _, err := places(next, p.plugins.host.Authenticates() || len(next.Plugins) > 0); err != nil {
		return result, sourced(err, meta)
	}
	if err := p.reloadTLS(next); err != nil {
		return result, sourced(err, meta)
	}
	done, err := p.plugins.apply(p.running, next)
	if err != nil {
		// If the old files are gone, new handshakes get what was just loaded.
		_ = p.reloadTLS(p.config)
		return result, sourced(err, meta)
	}
	for _, ch := range config.Diff(p.config, next) {
		if ch.Reload == config.Live {
			result.Applied = append(result.Applied, changeText(ch))
		}
	}
	// What another reload has named already is still waiting.
	for _, ch := range config.Diff(p.started, next) {
		if ch.Reload == config.Restart {
			result.NeedRestart = append(result.NeedRestart, changeText(ch))
		}
	}
	result.Applied = append(result.Applied, done...)
	result.NeedRestart = append(result.NeedRestart, p.accessChanges(next)...)
	p.level.Set(logLevel(next))
	tuneCollector(next)
	p.broker.SetLive(live(next))
	p.config = next
	p.log.Info("configuration reloaded", "applied", result.Applied, "need_restart", result.NeedRestart)
	for _, w := range meta.Warnings {
		p.log.Warn(w.String())
	}
	return result, nil
}

// accessChanges names the listeners that would be open to others if they were opened
// now: because plugins decide since a reload who may connect, or do no more.
func (p *program) accessChanges(next *config.Config) (lines []string) {
	all, err := places(next, p.plugins.host.Authenticates())
	if err != nil {
		return []string{err.Error()}
	}
	for _, s := range p.sockets {
		for i := range all {
			if n := &all[i]; !s.optional && !n.optional && n.config.Name == s.config.Name && n.access() != s.access() {
				lines = append(lines, fmt.Sprintf("listeners[%s]: %q -> %q", s.config.Name, s.access(), n.access()))
			}
		}
	}
	return lines
}

func changeText(ch config.Change) string {
	return fmt.Sprintf("%s: %q -> %q", ch.Key, ch.Old, ch.New)
}

// reloadTLS gives the open listeners what next has for them. Certificates, CAs
// and revocation lists may also have changed in files of the same names. Either
// all listeners get theirs, or none.
func (p *program) reloadTLS(next *config.Config) error {
	var undo []func()
	for _, s := range p.sockets {
		if s.tls == nil {
			continue
		}
		before := *s.tls
		i := slices.IndexFunc(next.Listeners, func(c config.Listener) bool { return c.Name == s.config.Name && c.Secure() })
		if i >= 0 {
			c := &next.Listeners[i]
			if s.certified && c.ClientCert != "required" {
				return configError{fmt.Sprintf("listeners[%d].client_cert", i),
					"cannot become " + c.ClientCert + " without a restart: it is what keeps strangers out of " + s.address}
			}
			now := tlsConfig(c)
			s.tls.Certificates, s.tls.ClientAuth, s.tls.ClientCAs, s.tls.CRLs = now.Certificates, now.ClientAuth, now.ClientCAs, now.CRLs
		}
		if err := s.listener.Reload(); err != nil {
			*s.tls = before
			for _, u := range undo {
				u()
			}
			return err
		}
		undo = append(undo, func() {
			*s.tls = before
			// If the old files are gone, new handshakes get what was just loaded.
			_ = s.listener.Reload()
		})
	}
	return nil
}

// socket is one that is listened on.
type socket struct {
	place
	listener *transport.Listener
	// tls is what listener reads on Reload, and at no other time; nil without TLS.
	tls *transport.TLSConfig
}
