module hypercare.example/flagger

go 1.25

require github.com/hashicorp/go-retryablehttp v0.7.5

require github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
