//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// sharePeriod is how often a share of the processors is dealt out anew: short beside what waits in the windows of a load.
const sharePeriod = 10 * time.Millisecond

// share is a control group that gives its processes so much CPU time and no more.
type share struct{ dir string }

// newShare makes one for so many cores, which may be less than one. It takes root, and the
// controller of the processors in one of its two versions.
func newShare(cores float64) (*share, error) {
	period, quota := strconv.FormatInt(sharePeriod.Microseconds(), 10), strconv.FormatInt(int64(cores*float64(sharePeriod.Microseconds())), 10)
	root := "/sys/fs/cgroup"
	settings := [][2]string{{"cpu.max", quota + " " + period}}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		root = filepath.Join(root, "cpu")
		settings = [][2]string{{"cpu.cfs_period_us", period}, {"cpu.cfs_quota_us", quota}}
	}
	if _, err := os.Stat(root); err != nil { // or a folder would be made in one
		return nil, err
	}
	s := &share{dir: filepath.Join(root, fmt.Sprintf("patchbay-measure-%d", os.Getpid()))}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	for _, set := range settings {
		// A file that is not there would be made, in a folder that is none of the controller's.
		f, err := os.OpenFile(filepath.Join(s.dir, set[0]), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(set[1])
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			s.remove()
			return nil, err
		}
	}
	return s, nil
}

// take puts a process with all its threads into the group.
func (s *share) take(pid int) error {
	return os.WriteFile(filepath.Join(s.dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0)
}

// remove gives the group up after its processes have ended.
func (s *share) remove() { _ = os.Remove(s.dir) }
