package transport

import (
	"os"

	"golang.org/x/sys/unix"
)

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

// writeFD offers the first chunks of l: eight, as many as unix.Writev takes without allocating.
func writeFD(fd int, l *chunkList) (int, error) {
	var vecs [8][]byte
	count := 0
	for k := l.head; k != nil && count < len(vecs); k = k.next {
		vecs[count] = k.bytes()
		count++
	}
	for {
		n, err := unix.Writev(fd, vecs[:count])
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errWouldBlock
		default:
			return 0, os.NewSyscallError("writev", err)
		}
	}
}
