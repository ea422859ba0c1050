package pluginhost

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// valid checks an answer as a whole, before anything of it takes effect.
func (c *call) valid() error {
	if c.answer.Error != "" {
		return errors.New(c.answer.Error)
	}
	var seen [maxEvents / 64]uint64
	for i := range c.answer.Verdicts {
		v := &c.answer.Verdicts[i]
		if int64(v.Event) >= int64(len(c.batch.Events)) {
			return fmt.Errorf("the answer has a verdict on event %d of a batch of %d", v.Event, len(c.batch.Events))
		}
		word, bit := &seen[v.Event/64], uint64(1)<<(v.Event%64)
		if *word&bit != 0 {
			return fmt.Errorf("the answer has two verdicts on event %d", v.Event)
		}
		*word |= bit
		if err := c.check(v); err != nil {
			return err
		}
	}
	return nil
}

// check checks one verdict. What has no meaning at the point, or for the action, is not
// looked at.
func (c *call) check(v *pluginv1.Verdict) error {
	p := c.hook.point
	if !p.Permits(v.Action) {
		return fmt.Errorf("%s cannot be answered with %s", pointName(p), v.Action)
	}
	if v.Action == pluginv1.ActionDeny || v.Action == pluginv1.ActionDisconnect {
		if err := checkCode(v.ReasonCode); err != nil {
			return fmt.Errorf("%s: %w", v.Action, err)
		}
	}
	changes := v.Action == pluginv1.ActionAllow || v.Action == pluginv1.ActionReplace
	switch p {
	case pluginv1.PointInterceptPublish, pluginv1.PointInterceptWill, pluginv1.PointInterceptDeliver:
		return checkChanges(p, v, changes)
	case pluginv1.PointInterceptSubscribe, pluginv1.PointInterceptUnsubscribe:
		if changes {
			return checkFilters(c.hook.point, &c.batch.Events[v.Event], v)
		}
	case pluginv1.PointAuthenticate, pluginv1.PointPermit:
		if c.hook.onlyRefuses && (v.Action == pluginv1.ActionAllow || v.Action == pluginv1.ActionChallenge) {
			return fmt.Errorf("%s from a hook that says only_refuses", v.Action)
		}
		if v.Action == pluginv1.ActionChallenge && c.batch.Events[v.Event].Authentication.Method == "" {
			return errors.New("ACTION_CHALLENGE where the client has no Authentication Method")
		}
		if v.Auth != nil {
			return checkAuth(v.Auth)
		}
	}
	return nil
}

// checkCode checks a Reason Code that refuses; 0 is none.
func checkCode(code uint32) error {
	if code > 0xFF || code != 0 && code < 0x80 {
		return fmt.Errorf("reason_code %d: it must be from 128 to 255", code)
	}
	return nil
}

// codeOf is the Reason Code of a verdict that was checked.
func codeOf(v *pluginv1.Verdict, otherwise packet.ReasonCode) packet.ReasonCode {
	if v.ReasonCode == 0 {
		return otherwise
	}
	return packet.ReasonCode(v.ReasonCode)
}

// maxReason is how much is taken of a reason, in bytes.
const maxReason = 1024

// reasonOf is the reason of a verdict, in memory of its own, as it can be sent to a
// client.
func reasonOf(v *pluginv1.Verdict) string {
	s := v.Reason
	if len(s) > maxReason {
		n := maxReason
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	if strings.IndexByte(s, 0) >= 0 { // [MQTT-1.5.4-2]
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.Clone(strings.ToValidUTF8(s, "\uFFFD"))
}
