package transport

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIovecs bounds one writev; with 64 KiB chunks more than this is never taken at once by a socket.
const maxIovecs = 64

// The sockets are non-blocking, so the runtime need not be told of these calls: it would take them for ones that may last, and keep
// its monitor thread awake, which where traffic is sparse costs a broker on one processor a fifth of its time.

// readFD reads what is there: 0 and no error at the end of the stream.
func readFD(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errWouldBlock
		default:
			return 0, os.NewSyscallError("read", errno)
		}
	}
}

// writeFD offers the first maxIovecs chunks of l. unix.Writev would allocate for more than eight.
func writeFD(fd int, l *chunkList) (int, error) {
	if l.head.next == nil {
		return writeOne(fd, l.head.bytes())
	}
	var vecs [maxIovecs]unix.Iovec
	count := 0
	for k := l.head; k != nil && count < maxIovecs; k = k.next {
		b := k.bytes()
		vecs[count].Base = &b[0]
		vecs[count].SetLen(len(b))
		count++
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vecs[0])), uintptr(count))
		if errno != unix.EINTR {
			return wrote(int(n), errno)
		}
	}
}

// pollFD returns how many events there are now.
func pollFD(epoll int, events []unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0
		}
	}
}

func writeOne(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno != unix.EINTR {
			return wrote(int(n), errno)
		}
	}
}

func wrote(n int, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
		return n, nil
	case unix.EAGAIN:
		return 0, errWouldBlock
	default:
		return 0, os.NewSyscallError("write", errno)
	}
}
