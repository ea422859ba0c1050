package dump

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// Copy copies a dump that comes from elsewhere without looking at more of it than
// its last line: an error says that it is not whole, or what else went wrong.
func Copy(w io.Writer, r io.Reader) (Counts, error) {
	in := bufio.NewReaderSize(r, bufferSize)
	var last []byte // what came of the line under way, if it may be the end line
	begins := true
	for {
		part, err := in.ReadSlice('\n')
		if _, werr := w.Write(part); werr != nil {
			return Counts{}, werr
		}
		if begins && len(part) > 0 {
			last = last[:0]
		}
		if len(last) <= maxEnd {
			last = append(last, part...)
		}
		begins = err == nil
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
			continue
		case !errors.Is(err, io.EOF):
			return Counts{}, err
		case len(part) > 0:
			return Counts{}, errTruncated
		}
		break
	}
	var l line
	if !bytes.HasPrefix(last, []byte(`{"end":`)) || json.Unmarshal(last, &l) != nil || l.End == nil {
		return Counts{}, errTruncated
	}
	return *l.End, nil
}

// maxEnd is above the length of every end line.
const maxEnd = 4 << 10
