// Package plugindev has the commands of `patchbay plugin` that are for those who write a
// plugin, or install one that others have written.
//
//	new, build          project  templates and toolchains of each language
//	test, bench,        trial    a plugin without a broker
//	inspect
//	run                 a broker in this process with just one plugin, and a view of its calls
//	record              what a running broker would ask and tell, by its admin socket
//	keygen, pack,       parcel   signed packages
//	install
//
// The commands only read flags and print; what they do is in the packages named above.
// Nothing here is used by a broker that serves.
package plugindev
