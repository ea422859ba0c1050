package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// ProxyMode says what a listener makes of the PROXY protocol (versions 1 and 2).
type ProxyMode uint8

// The modes of [ListenerConfig].Proxy.
const (
	ProxyOff      ProxyMode = iota // a header is not looked for
	ProxyOptional                  // a header is used if a trusted peer sends one
	ProxyRequired                  // connections without a header, or from a peer that is not trusted, are closed
)

// ProxyInfo is what a PROXY header said.
type ProxyInfo struct {
	Version     int        // 1 or 2
	Proxy       net.Addr   // the peer that sent the header
	Source      net.Addr   // the client; nil when the proxy does not say (LOCAL, UNKNOWN, UNSPEC)
	Destination net.Addr   // what the client connected to; nil as Source
	Authority   string     // host name the client asked for (SNI), version 2 only
	TLS         *ProxyTLS  // version 2 only, nil if not sent
	TLVs        []ProxyTLV // version 2 only, all of them, values as sent
}

// ProxyTLS is the PP2_TYPE_SSL value: what the proxy knows of a TLS connection that it terminated.
type ProxyTLS struct {
	Verified    bool   // the client presented a certificate and the proxy verified it
	CommonName  string // of the client certificate's subject
	Version     string // as the proxy names it, for example "TLSv1.3"
	Cipher      string
	Certificate []byte // DER, if the proxy sends it
}

// ProxyTLV is one type-length-value of a version 2 header.
type ProxyTLV struct {
	Type  byte
	Value []byte
}

var errNoProxyHeader = errors.New("PROXY header required but not sent")

// The longest headers that are read: what the specification allows for version 1, and for version 2 its fixed part with as many
// bytes behind it as the parser takes.
const (
	proxyV1Limit = 107
	proxyV2Fixed = 16
)

// readProxyHeader reads a PROXY header from conn. A nil info says that the first bytes are none; ahead is what was read too many.
func readProxyHeader(conn net.Conn) (info *ProxyInfo, ahead []byte, err error) {
	buf := make([]byte, 0, 512)
	length, more := 0, true
	for more {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if length, more = proxyHeaderLength(buf); more && err != nil {
			return nil, nil, fmt.Errorf("PROXY header: %w", err)
		}
	}
	if length == 0 {
		return nil, buf, nil
	}
	// The parser refuses a version 1 header that comes in pieces, because it has no deadline of its own; we have, so it gets the
	// header whole.
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(buf[:length]), max(16, length)))
	if err == nil {
		info, err = proxyInfo(h)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("PROXY header: %w", err)
	}
	info.Proxy = conn.RemoteAddr()
	return info, buf[length:], nil
}

// proxyHeaderLength is how many bytes of b the header has, 0 if b does not begin with one; more: b is too short to tell.
func proxyHeaderLength(b []byte) (length int, more bool) {
	v1, v2 := proxyproto.SIGV1, proxyproto.SIGV2
	switch {
	case bytes.HasPrefix(b, v1):
		if end := bytes.IndexByte(b[:min(len(b), proxyV1Limit)], '\n'); end >= 0 {
			return end + 1, false
		}
		return proxyV1Limit, len(b) < proxyV1Limit
	case bytes.HasPrefix(b, v2):
		if len(b) < proxyV2Fixed {
			return 0, true
		}
		// Above the limit the parser refuses it without the rest.
		length = proxyV2Fixed + int(min(binary.BigEndian.Uint16(b[proxyV2Fixed-2:]), proxyproto.MaxV2HeaderSize))
		return length, len(b) < length
	default:
		return 0, bytes.HasPrefix(v1, b) || bytes.HasPrefix(v2, b)
	}
}

// proxyInfo takes out what we pass on. Addresses of a LOCAL command are the proxy's own business, a health check for example.
func proxyInfo(h *proxyproto.Header) (*ProxyInfo, error) {
	info := &ProxyInfo{Version: int(h.Version)}
	if h.Command.IsProxy() && h.TransportProtocol.IsStream() {
		info.Source, info.Destination = h.SourceAddr, h.DestinationAddr
	}
	if h.Version != 2 {
		return info, nil
	}
	tlvs, err := h.TLVs()
	if err != nil {
		return nil, err
	}
	for _, t := range tlvs {
		info.TLVs = append(info.TLVs, ProxyTLV{Type: byte(t.Type), Value: t.Value})
		if t.Type == proxyproto.PP2_TYPE_AUTHORITY {
			info.Authority = string(t.Value)
		}
	}
	if ssl, ok := tlvparse.FindSSL(tlvs); ok && ssl.ClientSSL() {
		p := &ProxyTLS{}
		p.CommonName, _ = ssl.ClientCN()
		p.Version, _ = ssl.SSLVersion()
		p.Cipher, _ = ssl.SSLCipher()
		p.Certificate, _ = ssl.ClientCert()
		// Verify is 0 also when there was no certificate at all, so the bits are asked as well.
		p.Verified = ssl.Verified() && (ssl.ClientCertConn() || ssl.ClientCertSess())
		info.TLS = p
	}
	return info, nil
}

// proxyTrusted reports whether addr may send a PROXY header. Who can open our unix socket is the file system's decision.
func proxyTrusted(trusted []netip.Prefix, addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || len(trusted) == 0 {
		return true
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, network := range trusted {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}
