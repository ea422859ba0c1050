//go:build !linux && !darwin

package transport

func defaultDriver() Driver { return Blocking() }
