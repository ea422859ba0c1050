package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopListener accepts sockets for the loops without package net, which would set options one by one (accepted sockets inherit
// them from the listening one here), ask for addresses that mostly nobody wants, and have Go's own epoll look at them, too.
type loopListener struct {
	net.Listener          // its socket is the same
	file         *os.File // package net does not let us wait for its own
	rc           syscall.RawConn
	onAccept     func(fd uintptr) bool
	unix         bool
	closed       atomic.Bool

	// Of the accept under way; there is one at a time.
	socket *loopSocket
	err    error
	peer   unix.RawSockaddrAny
}

func (d *loopDriver) listener(ln net.Listener, cfg *ListenerConfig) (net.Listener, error) {
	if cfg.Proxy != ProxyOff || cfg.Network != "tcp" && cfg.Network != "unix" {
		return ln, nil
	}
	file, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, err
	}
	a := &loopListener{Listener: ln, file: file, unix: cfg.Network == "unix"}
	a.onAccept = a.accept
	if a.rc, err = file.SyscallConn(); err == nil && !a.unix {
		if e := a.rc.Control(func(fd uintptr) { err = inherit(int(fd), cfg) }); e != nil {
			err = e
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return a, nil
}

// Close stops listening.
func (a *loopListener) Close() error {
	a.closed.Store(true)
	return errors.Join(a.Listener.Close(), a.file.Close())
}

// Accept waits for a connection. One goroutine may call it.
func (a *loopListener) Accept() (net.Conn, error) {
	if err := a.rc.Read(a.onAccept); err != nil {
		if a.closed.Load() {
			err = net.ErrClosed
		}
		return nil, err
	}
	s, err := a.socket, a.err
	a.socket, a.err = nil, nil
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (a *loopListener) accept(fd uintptr) bool {
	for {
		n, err := a.accept4(fd)
		switch err {
		case 0:
			a.socket = new(loopSocket)
			if !a.unix {
				a.socket.remote = net.TCPAddrFromAddrPort(a.from())
			}
			a.socket.link.fd = n
			return true
		case unix.EAGAIN:
			return false
		case unix.EINTR, unix.ECONNABORTED: // it was closed before we came to it
		default:
			a.err = &net.OpError{Op: "accept", Net: a.Addr().Network(), Addr: a.Addr(), Err: err}
			return true
		}
	}
}

// accept4 is unix.Accept4, which would allocate for the address.
func (a *loopListener) accept4(fd uintptr) (int, syscall.Errno) {
	size := uint32(unix.SizeofSockaddrAny)
	n, _, err := unix.Syscall6(unix.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&a.peer)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), err
}

// from is the address of who was accepted.
func (a *loopListener) from() netip.AddrPort {
	switch a.peer.Addr.Family {
	case unix.AF_INET:
		s := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.peer))
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), hostOrder(s.Port))
	case unix.AF_INET6:
		s := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.peer))
		return netip.AddrPortFrom(inZone(netip.AddrFrom16(s.Addr), s.Scope_id), hostOrder(s.Port))
	}
	return netip.AddrPort{}
}

// hostOrder makes a number of one that is in the network's order.
func hostOrder(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// inZone gives a link-local address its zone, and makes an IPv4 address of one that was
// mapped into IPv6.
func inZone(ip netip.Addr, id uint32) netip.Addr {
	if id != 0 && !ip.Is4In6() {
		if zone, err := net.InterfaceByIndex(int(id)); err == nil {
			ip = ip.WithZone(zone.Name)
		}
	}
	return ip.Unmap()
}

// inherit sets what accepted sockets inherit.
func inherit(fd int, cfg *ListenerConfig) error {
	idle := cfg.KeepAlive
	if idle == 0 {
		idle = keepAliveIdle
	}
	noDelay, alive := 1, 1
	if cfg.Nagle {
		noDelay = 0
	}
	if idle < 0 {
		alive = 0
	}
	err := errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, noDelay),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, alive),
	)
	if idle > 0 {
		seconds := max(1, int((idle+time.Second-1)/time.Second))
		err = errors.Join(err,
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval/time.Second)),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount),
		)
	}
	return err
}

// As package net has them.
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 9
)

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(inZone(netip.AddrFrom16(a.Addr), a.ZoneId), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// loopSocket stands for a socket of the loops where package transport wants a net.Conn. Reading and writing is the loop's.
type loopSocket struct {
	link   loopLink
	remote *net.TCPAddr // nil: a unix socket
}

var errLoops = errors.New("transport: the socket is an event loop's")

func (s *loopSocket) Read([]byte) (int, error)         { return 0, errLoops }
func (s *loopSocket) Write([]byte) (int, error)        { return 0, errLoops }
func (s *loopSocket) SetDeadline(time.Time) error      { return errLoops }
func (s *loopSocket) SetReadDeadline(time.Time) error  { return errLoops }
func (s *loopSocket) SetWriteDeadline(time.Time) error { return errLoops }

func (s *loopSocket) RemoteAddr() net.Addr {
	if s.remote == nil {
		return &net.UnixAddr{Name: "@", Net: "unix"} // as package net has those without a name
	}
	return s.remote
}

// LocalAddr is the listener's if the socket is closed by now.
func (s *loopSocket) LocalAddr() net.Addr {
	if s.remote == nil {
		return s.link.c.lis.Addr()
	}
	l := &s.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd >= 0 {
		if a, err := unix.Getsockname(l.fd); err == nil {
			return net.TCPAddrFromAddrPort(addrPort(a))
		}
	}
	return l.c.lis.Addr()
}

// Close ends the connection. The number of the socket is the loop's until the loop has seen that.
func (s *loopSocket) Close() error {
	l := &s.link
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.fd < 0:
	case l.loop.Load() == nil:
		unix.Close(l.fd)
		l.fd = -1
	default:
		_ = unix.Shutdown(l.fd, unix.SHUT_RDWR)
	}
	return nil
}
