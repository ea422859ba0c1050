// Package statement reads statements of SQL in which ${…} stands for values: each becomes a
// parameter, and never a part of the text.
//
//	INSERT INTO t VALUES (${topic}, ${payload.v|float}) ──► INSERT INTO t VALUES ($1, $2)
//
// It knows of SQL what is needed for that: what stands in quotes and in comments, and where
// the row of an INSERT is, which may then be repeated. It knows nothing of databases.
//
// Start at statement.go; lex.go, dialect.go.
package statement
