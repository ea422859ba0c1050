package transport

func defaultDriver() Driver { return Portable() }
