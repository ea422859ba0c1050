package session

// idSet is the set of Packet Identifiers that were received with QoS 2 and not
// released yet [MQTT-4.3.3-10]: pages of 1,024 bits that exist while they hold
// something, because clients use few identifiers, close together.
type idSet struct {
	pages *[64]*idPage
	n     int
}

type idPage struct {
	words [16]uint64
	n     int
}

func (s *idSet) has(id uint16) bool {
	if s.pages == nil {
		return false
	}
	p := s.pages[id>>10]
	return p != nil && p.words[id>>6&15]&(1<<(id&63)) != 0
}

// add reports whether id was new.
func (s *idSet) add(id uint16) bool {
	if s.has(id) {
		return false
	}
	if s.pages == nil {
		s.pages = new([64]*idPage)
	}
	p := s.pages[id>>10]
	if p == nil {
		p = new(idPage)
		s.pages[id>>10] = p
	}
	p.words[id>>6&15] |= 1 << (id & 63)
	p.n++
	s.n++
	return true
}

// remove reports whether id was there.
func (s *idSet) remove(id uint16) bool {
	if !s.has(id) {
		return false
	}
	p := s.pages[id>>10]
	p.words[id>>6&15] &^= 1 << (id & 63)
	p.n--
	s.n--
	return true
}

// trim gives the memory of empty pages back.
func (s *idSet) trim() {
	if s.n == 0 {
		s.pages = nil
		return
	}
	for i, p := range s.pages {
		if p != nil && p.n == 0 {
			s.pages[i] = nil
		}
	}
}
