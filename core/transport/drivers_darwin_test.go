package transport

func testDrivers() map[string]Driver {
	return map[string]Driver{"portable": Portable(), "blocking": Blocking()}
}
