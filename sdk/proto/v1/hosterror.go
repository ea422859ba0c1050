package pluginv1

// Error returns the message and, if a grant is missing, its name.
func (x *HostError) Error() string {
	s := x.Message
	if s == "" {
		s = x.Code.String()
	}
	if x.Grant != "" {
		s += ` (missing grant "` + x.Grant + `")`
	}
	return s
}

// Is makes errors.Is find a HostError by its Code alone:
//
//	errors.Is(err, &HostError{Code: HostErrorCodeDenied})
func (x *HostError) Is(target error) bool {
	t, ok := target.(*HostError)
	return ok && t.Code == x.Code
}
