package transport

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIovecs bounds one writev; with 64 KiB chunks more than this is never taken at once by a socket.
const maxIovecs = 64

// readFD reads what is there: 0 and no error at the end of the stream.
func readFD(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errWouldBlock
		default:
			return 0, os.NewSyscallError("read", err)
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
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vecs[0])), uintptr(count))
		if errno != unix.EINTR {
			return wrote(int(n), errno)
		}
	}
}

func writeOne(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
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
