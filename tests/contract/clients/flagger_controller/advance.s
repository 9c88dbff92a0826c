// Empty: lets a function without a body, named by go:linkname, be declared.
