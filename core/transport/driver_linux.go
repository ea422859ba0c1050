package transport

func defaultDriver() Driver { return Loops() }
