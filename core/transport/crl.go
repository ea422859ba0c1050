package transport

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// revocations are the loaded revocation lists by raw issuer name; nil: not used.
type revocations map[string][]*issuerCRL

// issuerCRL is a list with the CA whose signature on it was verified; CAs may share a name after a key change.
type issuerCRL struct {
	file    string
	issuer  *x509.Certificate
	expires time.Time
	serials map[string]struct{}
}

// loadCRLs reads the lists and checks who signed them, and that they are current: an expired list refuses every client, which must
// be told at start-up or reload and not to the clients.
func loadCRLs(files []string, cas []*x509.Certificate, now time.Time) (revocations, error) {
	if len(files) == 0 {
		return nil, nil
	}
	all := make(revocations)
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("tls: revocation list: %w", err)
		}
		lists := pemBlocks(data, "X509 CRL")
		if len(lists) == 0 {
			lists = [][]byte{data}
		}
		for _, der := range lists {
			crl, err := loadCRL(der, cas, now)
			if err != nil {
				return nil, fmt.Errorf("tls: revocation list %s: %w", name, err)
			}
			crl.file = name
			key := string(crl.issuer.RawSubject)
			all[key] = append(all[key], crl)
		}
	}
	return all, nil
}

func loadCRL(der []byte, cas []*x509.Certificate, now time.Time) (*issuerCRL, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
		return nil, fmt.Errorf("expired at %s", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	for _, ca := range cas {
		if !bytes.Equal(ca.RawSubject, list.RawIssuer) || list.CheckSignatureFrom(ca) != nil {
			continue
		}
		crl := &issuerCRL{issuer: ca, expires: list.NextUpdate, serials: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
		for _, entry := range list.RevokedCertificateEntries {
			crl.serials[string(entry.SerialNumber.Bytes())] = struct{}{}
		}
		return crl, nil
	}
	return nil, fmt.Errorf("not signed by one of the client CAs (issuer %s)", list.Issuer)
}

var errRevoked = errors.New("client certificate revoked")

// check accepts when one of the verified chains has nothing revoked in it.
func (r revocations) check(chains [][]*x509.Certificate, now time.Time) error {
	if r == nil {
		return nil
	}
	err := errors.New("client certificate has no verified chain")
	for _, chain := range chains {
		if err = r.checkChain(chain, now); err == nil {
			return nil
		}
	}
	return err
}

func (r revocations) checkChain(chain []*x509.Certificate, now time.Time) error {
	// The last one is the root, trusted by configuration.
	for i := 0; i+1 < len(chain); i++ {
		cert, issuer := chain[i], chain[i+1]
		found := false
		for _, crl := range r[string(cert.RawIssuer)] {
			if !bytes.Equal(crl.issuer.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo) {
				continue
			}
			found = true
			if !crl.expires.IsZero() && now.After(crl.expires) {
				return fmt.Errorf("revocation list %s expired", crl.file)
			}
			if _, ok := crl.serials[string(cert.SerialNumber.Bytes())]; ok {
				return fmt.Errorf("%w: %s", errRevoked, cert.Subject)
			}
		}
		if i == 0 && !found {
			return fmt.Errorf("no revocation list of %s", cert.Issuer)
		}
	}
	return nil
}

// pemBlocks returns the DER contents of all blocks of the given type.
func pemBlocks(data []byte, kind string) (ders [][]byte) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return ders
		}
		if block.Type == kind {
			ders = append(ders, block.Bytes)
		}
	}
}
