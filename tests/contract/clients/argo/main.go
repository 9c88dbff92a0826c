// Asks about releases with Argo Rollouts' own web and kayenta providers.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/argoproj/argo-rollouts/metricproviders/kayenta"
	"github.com/argoproj/argo-rollouts/metricproviders/webmetric"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	log "github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
)

func main() {
	base, token := os.Args[1], os.Args[2]
	out := map[string]string{}
	for _, release := range os.Args[3:] {
		out["web "+release] = web(base, token, release)
		out["kayenta "+release] = canary(strings.Replace(base, "://", "://argo:"+token+"@", 1), release)
	}
	text, _ := json.Marshal(out)
	fmt.Println(string(text))
}

func web(base, token, release string) string {
	m := v1alpha1.Metric{
		Name:             "hypercare",
		SuccessCondition: `result.verdict == "healthy"`,
		FailureCondition: `result.verdict == "regressed"`,
		Provider: v1alpha1.MetricProvider{Web: &v1alpha1.WebMetric{
			URL:      base + "/v1/gate?service=shop&release=" + release,
			JSONPath: "{$.data}",
			Headers:  []v1alpha1.WebMetricHeader{{Key: "Authorization", Value: "Bearer " + token}},
		}},
	}
	client, err := webmetric.NewWebMetricHttpClient(m)
	if err != nil {
		return err.Error()
	}
	parser, err := webmetric.NewWebMetricJsonParser(m)
	if err != nil {
		return err.Error()
	}
	p := webmetric.NewWebMetricProvider(*log.NewEntry(log.New()), client, parser)
	found := p.Run(&v1alpha1.AnalysisRun{}, m)
	return strings.TrimSpace(string(found.Phase) + " " + found.Message)
}

func canary(base, release string) string {
	where := v1alpha1.ScopeDetail{Scope: release, Region: "production", Step: 60,
		Start: time.Now().Format(time.RFC3339), End: time.Now().Format(time.RFC3339)}
	m := v1alpha1.Metric{
		Name: "hypercare", Interval: "30s",
		Provider: v1alpha1.MetricProvider{Kayenta: &v1alpha1.KayentaMetric{
			Address: base, Application: "shop", CanaryConfigName: "hypercare",
			MetricsAccountName: "none", ConfigurationAccountName: "none", StorageAccountName: "none",
			Threshold: v1alpha1.KayentaThreshold{Pass: 90, Marginal: 75},
			Scopes:    []v1alpha1.KayentaScope{{Name: "default", ControlScope: where, ExperimentScope: where}},
		}},
	}
	p := kayenta.NewKayentaProvider(*log.NewEntry(log.New()), http.Client{Timeout: 10 * time.Second})
	now := v1.Now()
	run := &v1alpha1.AnalysisRun{Status: v1alpha1.AnalysisRunStatus{StartedAt: &now}}
	found := p.Run(run, m)
	if found.Phase == v1alpha1.AnalysisPhaseRunning {
		found = p.Resume(run, m, found)
	}
	return strings.TrimSpace(string(found.Phase) + " " + found.Value + " " + found.Message)
}
