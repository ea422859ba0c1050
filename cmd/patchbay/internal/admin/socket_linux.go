package admin

import "syscall"

// privateFromTheStart gives the socket its mode before bind makes the file, so
// that there is no moment in which the umask decides who may connect.
func privateFromTheStart(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) }); cerr != nil {
		return cerr
	}
	return err
}
