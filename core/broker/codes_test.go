package broker

import (
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
)

func TestCarried(t *testing.T) {
	for _, c := range []struct {
		in         packet.Type
		code, want packet.ReasonCode
	}{
		{packet.TypeConnack, packet.Banned, packet.Banned},
		{packet.TypeConnack, packet.KeepAliveTimeout, packet.UnspecifiedError},
		{packet.TypePuback, packet.QuotaExceeded, packet.QuotaExceeded},
		{packet.TypePuback, packet.PacketTooLarge, packet.UnspecifiedError},
		{packet.TypePubrec, packet.PayloadFormatInvalid, packet.PayloadFormatInvalid},
		{packet.TypePubrec, 0xFF, packet.UnspecifiedError},
		{packet.TypeSuback, packet.QuotaExceeded, packet.QuotaExceeded},
		{packet.TypeSuback, packet.Banned, packet.UnspecifiedError},
		{packet.TypeUnsuback, packet.NotAuthorized, packet.NotAuthorized},
		{packet.TypeUnsuback, packet.QuotaExceeded, packet.UnspecifiedError},
		{packet.TypeDisconnect, packet.Banned, packet.AdministrativeAction},
		{packet.TypeDisconnect, packet.ServerBusy, packet.ServerBusy},
		{packet.TypeDisconnect, packet.BadUserNameOrPassword, packet.UnspecifiedError},
	} {
		if got := carried(c.in, c.code); got != c.want {
			t.Errorf("%v in %v becomes %v, want %v", c.code, c.in, got, c.want)
		}
	}
}
