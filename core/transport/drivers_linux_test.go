package transport

func testDrivers() map[string]Driver {
	return map[string]Driver{"loops": Loops(), "portable": Portable(), "blocking": Blocking()}
}
