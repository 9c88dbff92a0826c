// Runs Argo Rollouts' own controllers: that of analyses on runs made from templates, as
// YAML, and that of rollouts on steps that use them, until each has an end. Kubernetes is
// the client library's fake; controllers, providers, and the gates they ask are real.
//
// Standard input: a JSON list of cases. Standard output: what became of each, by name.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/argoproj/argo-rollouts/analysis"
	"github.com/argoproj/argo-rollouts/controller/metrics"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/pkg/client/clientset/versioned/fake"
	informers "github.com/argoproj/argo-rollouts/pkg/client/informers/externalversions"
	analysisutil "github.com/argoproj/argo-rollouts/utils/analysis"
	"github.com/argoproj/argo-rollouts/utils/queue"
	"github.com/argoproj/argo-rollouts/utils/record"
	timeutil "github.com/argoproj/argo-rollouts/utils/time"
	log "github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubeinformers "k8s.io/client-go/informers"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/yaml"
)

const (
	// speed is how many seconds pass for the controller in one: intervals and limits
	// stay as the template has them.
	speed = 200
	// patience ends a program whose runs have no end: half an hour to the controller.
	patience = 1800 * time.Second / speed
)

// oneCase is a run in a namespace of its name: Template is YAML, Args its arguments. Token
// is put into the secret that the template names. One that is measured EndAfter times is
// told to end, as Argo does with a background analysis when the steps are over. With Steps,
// the YAML of a canary's, it is a rollout instead, which makes runs of the template.
type oneCase struct {
	Name     string            `json:"name"`
	Template string            `json:"template"`
	Args     map[string]string `json:"args"`
	Token    string            `json:"token"`
	EndAfter int               `json:"end_after"`
	Steps    string            `json:"steps"`
}

type outcome struct {
	Phase        string `json:"phase"`
	Message      string `json:"message"`
	Successful   int32  `json:"successful"`
	Failed       int32  `json:"failed"`
	Inconclusive int32  `json:"inconclusive"`
	Error        int32  `json:"error"`
	// Of a rollout: where it stands, whether it was aborted, and why it pauses.
	Step    int32    `json:"step"`
	Weight  int32    `json:"weight"`
	Aborted bool     `json:"aborted"`
	Pauses  []string `json:"pauses"`
}

// fastQueue waits as much shorter as the clock is faster.
type fastQueue struct {
	workqueue.RateLimitingInterface
}

func (q fastQueue) AddAfter(item any, wait time.Duration) {
	q.RateLimitingInterface.AddAfter(item, wait/speed)
}

func main() {
	log.SetOutput(io.Discard)
	var cases []oneCase
	check(json.NewDecoder(os.Stdin).Decode(&cases))
	begun := time.Now()
	timeutil.SetNowTimeFunc(func() time.Time { return begun.Add(speed * time.Since(begun)) })

	kube, argo := kubefake.NewSimpleClientset(), fake.NewSimpleClientset()
	kubeInformers := kubeinformers.NewSharedInformerFactory(kube, 0)
	argoInformers := informers.NewSharedInformerFactory(argo, 0)
	work := workqueue.NewNamedRateLimitingQueue(queue.DefaultArgoRolloutsRateLimiter(), "runs")
	controller := analysis.NewController(analysis.ControllerConfig{
		KubeClientSet:        kube,
		ArgoProjClientset:    argo,
		AnalysisRunInformer:  argoInformers.Argoproj().V1alpha1().AnalysisRuns(),
		JobInformer:          kubeInformers.Batch().V1().Jobs(),
		JobPodsInformer:      kubeInformers.Core().V1().Pods(),
		AnalysisRunWorkQueue: fastQueue{work},
		MetricsServer: metrics.NewMetricsServer(metrics.ServerConfig{
			K8SRequestProvider: &metrics.K8sRequestsCountProvider{},
		}),
		Recorder: record.NewFakeEventRecorder(),
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rollouts := newRollouts(kube, argo, kubeInformers, argoInformers)
	kubeInformers.Start(ctx.Done())
	argoInformers.Start(ctx.Done())
	kubeInformers.WaitForCacheSync(ctx.Done())
	argoInformers.WaitForCacheSync(ctx.Done())
	go func() { _ = controller.Run(ctx, 4) }()
	go func() { _ = rollouts.controller.Run(ctx, 4) }()

	for _, one := range cases {
		template, secrets := templateOf(one)
		for _, secret := range secrets {
			_, err := kube.CoreV1().Secrets(one.Name).Create(ctx, secret, metav1.CreateOptions{})
			check(err)
		}
		if one.Steps != "" {
			continue
		}
		_, err := argo.ArgoprojV1alpha1().AnalysisRuns(one.Name).Create(ctx, runOf(one, template), metav1.CreateOptions{})
		check(err)
	}
	out := watch(ctx, argo, cases)
	var played sync.WaitGroup
	var lock sync.Mutex
	for _, one := range cases {
		if one.Steps != "" {
			played.Go(func() {
				found := rollouts.play(ctx, one)
				lock.Lock()
				defer lock.Unlock()
				out[one.Name] = found
			})
		}
	}
	played.Wait()
	said, err := json.Marshal(out)
	check(err)
	fmt.Println(string(said))
}

// templateOf is the template, and the secrets that it names.
func templateOf(one oneCase) (*v1alpha1.AnalysisTemplate, []*corev1.Secret) {
	template := &v1alpha1.AnalysisTemplate{}
	check(yaml.UnmarshalStrict([]byte(one.Template), template))
	template.Namespace = one.Name
	var secrets []*corev1.Secret
	for _, arg := range template.Spec.Args {
		if arg.ValueFrom == nil || arg.ValueFrom.SecretKeyRef == nil {
			continue
		}
		ref := arg.ValueFrom.SecretKeyRef
		secrets = append(secrets, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: ref.Name, Namespace: one.Name},
			Data:       map[string][]byte{ref.Key: []byte(one.Token)},
		})
	}
	return template, secrets
}

// runOf is the run that Argo makes of a template.
func runOf(one oneCase, template *v1alpha1.AnalysisTemplate) *v1alpha1.AnalysisRun {
	args := []v1alpha1.Argument{}
	for name, value := range one.Args {
		args = append(args, v1alpha1.Argument{Name: name, Value: &value})
	}
	run, err := analysisutil.NewAnalysisRunFromTemplates(
		[]*v1alpha1.AnalysisTemplate{template}, nil, args, nil, nil, nil, nil, one.Name, "", one.Name)
	check(err)
	return run
}

// watch waits until all runs have an end, or nobody waits any longer.
func watch(ctx context.Context, argo *fake.Clientset, cases []oneCase) map[string]outcome {
	out := map[string]outcome{}
	for {
		isOver := true
		for _, one := range cases {
			if one.Steps != "" {
				continue
			}
			runs := argo.ArgoprojV1alpha1().AnalysisRuns(one.Name)
			run, err := runs.Get(context.Background(), one.Name, metav1.GetOptions{})
			check(err)
			found := outcome{Phase: string(run.Status.Phase), Message: run.Status.Message}
			for _, result := range run.Status.MetricResults {
				found.Successful, found.Failed = result.Successful, result.Failed
				found.Inconclusive, found.Error = result.Inconclusive, result.Error
				if one.EndAfter > 0 && int(result.Count) >= one.EndAfter && !run.Spec.Terminate {
					end := []byte(`{"spec":{"terminate":true}}`)
					_, err = runs.Patch(ctx, one.Name, types.MergePatchType, end, metav1.PatchOptions{})
					check(err)
				}
			}
			out[one.Name] = found
			isOver = isOver && run.Status.Phase.Completed()
		}
		select {
		case <-ctx.Done():
			return out
		case <-time.After(20 * time.Millisecond):
		}
		if isOver {
			return out
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
