// Package watch reads a file that a plugin's config names again when it changes.
//
// Watch is for plugins: it reads the file at once, has a timer of the host call the
// plugin, which asks Poll, keeps the old content where the new one has a fault, and says
// so in the log and in the plugin's health. File is what looks at the file: a change is
// taken when it has been the same for two looks in a row, so that one that is still being
// written is left alone; a rename over the old file is seen by its inode.
//
// It knows neither what is in the file nor when somebody looks; time is the host's, and
// virtual in tests.
package watch
