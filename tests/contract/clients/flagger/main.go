// Asks every hook about releases with Flagger's own callWebhook: the test puts that
// function, word by word from Flagger's module, into a file beside this one.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

type payload struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Phase     string            `json:"phase"`
	Checksum  string            `json:"checksum"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

func main() {
	out := map[string]string{}
	for _, release := range os.Args[3:] {
		for _, hook := range []string{"confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "post-rollout", "rollback", "event"} {
			meta := map[string]string{"release": release, "token": os.Args[2]}
			begun := time.Now()
			err := callWebhook(os.Args[1]+"/flagger/"+hook, payload{"shop", "test", "Progressing", "85d557f47b", meta}, "", 2)
			said := "ok"
			if err != nil {
				said = err.Error()
			}
			if time.Since(begun) > time.Second {
				said = "SLOW " + said
			}
			out[hook+" "+release] = said
		}
	}
	text, _ := json.Marshal(out)
	fmt.Println(string(text))
}
