// Runs Flagger's own canary controller on canaries, as YAML: each is begun, gets a new
// image, and is advanced interval by interval. Kubernetes and the mesh are the client
// libraries' fakes; the controller and the gates that its webhooks ask are real.
//
// Standard input: a JSON list of cases. Standard output: by name, what each came to after
// every interval, and the events that Flagger has written.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
	_ "unsafe" // for go:linkname

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/fluxcd/flagger/pkg/canary"
	"github.com/fluxcd/flagger/pkg/client/clientset/versioned/fake"
	informers "github.com/fluxcd/flagger/pkg/client/informers/externalversions"
	"github.com/fluxcd/flagger/pkg/controller"
	"github.com/fluxcd/flagger/pkg/metrics/observers"
	"github.com/fluxcd/flagger/pkg/notifier"
	"github.com/fluxcd/flagger/pkg/router"
	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// advance is what Flagger's scheduler calls at every interval, of ten seconds at least.
//
//go:linkname advance github.com/fluxcd/flagger/pkg/controller.(*Controller).advanceCanary
func advance(c *controller.Controller, name string, namespace string)

// oneCase is a canary in a namespace of the case's name. It changes from stage to stage,
// as a verdict would: each stage is a canary as YAML, for so many intervals.
type oneCase struct {
	Name   string `json:"name"`
	Stages []struct {
		Canary    string `json:"canary"`
		Intervals int    `json:"intervals"`
	} `json:"stages"`
}

type step struct {
	Phase  string `json:"phase"`
	Weight int    `json:"weight"`
	Failed int    `json:"failed"`
}

type outcome struct {
	Steps  []step   `json:"steps"`
	Events []string `json:"events"`
}

func main() {
	var cases []oneCase
	check(json.NewDecoder(os.Stdin).Decode(&cases))
	kube, flagger := kubefake.NewSimpleClientset(), fake.NewSimpleClientset()
	made := newController(kube, flagger)
	out := map[string]outcome{}
	for _, one := range cases {
		out[one.Name] = play(made, kube, flagger, one)
	}
	said, err := json.Marshal(out)
	check(err)
	fmt.Println(string(said))
}

func newController(kube *kubefake.Clientset, flagger *fake.Clientset) *controller.Controller {
	logger := zap.NewNop().Sugar()
	found := informers.NewSharedInformerFactory(flagger, 0).Flagger().V1beta1()
	observing, err := observers.NewFactory("http://127.0.0.1:1")
	check(err)
	tracker := &canary.ConfigTracker{Logger: logger, KubeClient: kube, FlaggerClient: flagger}
	return controller.NewController(
		kube, flagger,
		controller.Informers{
			CanaryInformer: found.Canaries(),
			MetricInformer: found.MetricTemplates(),
			AlertInformer:  found.AlertProviders(),
		},
		10*time.Second, logger, &notifier.NopNotifier{},
		canary.NewFactory(kube, flagger, tracker, []string{"app"}, []string{""}, logger),
		router.NewFactory(nil, kube, flagger, "", "", logger, flagger, true),
		observing, flaggerv1.IstioProvider, "1.36.1", "", "", false,
	)
}

// play begins a canary, deploys a new image, and goes on through all stages.
func play(made *controller.Controller, kube *kubefake.Clientset, flagger *fake.Clientset, one oneCase) outcome {
	ctx, wanted := context.Background(), canaryOf(one.Name, one.Stages[0].Canary)
	name, target := wanted.Name, wanted.Spec.TargetRef.Name
	_, err := flagger.FlaggerV1beta1().Canaries(one.Name).Create(ctx, wanted, metav1.CreateOptions{})
	check(err)
	_, err = kube.AppsV1().Deployments(one.Name).Create(ctx, deployment(one.Name, target), metav1.CreateOptions{})
	check(err)
	// The first creates the primary, the second finds it ready.
	for range 2 {
		advance(made, name, one.Name)
		makeReady(kube, one.Name)
	}
	deployed, err := kube.AppsV1().Deployments(one.Name).Get(ctx, target, metav1.GetOptions{})
	check(err)
	deployed.Spec.Template.Spec.Containers[0].Image = "shop:2.4.0"
	_, err = kube.AppsV1().Deployments(one.Name).Update(ctx, deployed, metav1.UpdateOptions{})
	check(err)

	found := outcome{}
	canaries := flagger.FlaggerV1beta1().Canaries(one.Name)
	for _, stage := range one.Stages {
		is, err := canaries.Get(ctx, name, metav1.GetOptions{})
		check(err)
		is.Spec = canaryOf(one.Name, stage.Canary).Spec
		_, err = canaries.Update(ctx, is, metav1.UpdateOptions{})
		check(err)
		for range stage.Intervals {
			advance(made, name, one.Name)
			makeReady(kube, one.Name)
			is, err = canaries.Get(ctx, name, metav1.GetOptions{})
			check(err)
			weight := weightOf(flagger, one.Name, name)
			found.Steps = append(found.Steps, step{string(is.Status.Phase), weight, is.Status.FailedChecks})
		}
	}
	// Events are written by a goroutine of Flagger's.
	time.Sleep(100 * time.Millisecond)
	events, err := kube.CoreV1().Events(one.Name).List(ctx, metav1.ListOptions{})
	check(err)
	for _, event := range events.Items {
		found.Events = append(found.Events, event.Message)
	}
	return found
}

func canaryOf(namespace, text string) *flaggerv1.Canary {
	found := &flaggerv1.Canary{}
	check(yaml.UnmarshalStrict([]byte(text), found))
	found.Namespace = namespace
	return found
}

// weightOf is the share of traffic that the mesh was told to send to the canary.
func weightOf(flagger *fake.Clientset, namespace, name string) int {
	routes, err := flagger.NetworkingV1alpha3().VirtualServices(namespace).Get(context.Background(), name, metav1.GetOptions{})
	check(err)
	for _, route := range routes.Spec.Http[0].Route {
		if strings.HasSuffix(route.Destination.Host, "-canary") {
			return route.Weight
		}
	}
	return -1
}

// makeReady does for all deployments what Kubernetes would.
func makeReady(kube *kubefake.Clientset, namespace string) {
	all, err := kube.AppsV1().Deployments(namespace).List(context.Background(), metav1.ListOptions{})
	check(err)
	for _, one := range all.Items {
		number := int32(1)
		if one.Spec.Replicas != nil {
			number = *one.Spec.Replicas
		}
		one.Status = appsv1.DeploymentStatus{
			ObservedGeneration: one.Generation, Replicas: number,
			UpdatedReplicas: number, ReadyReplicas: number, AvailableReplicas: number,
		}
		_, err = kube.AppsV1().Deployments(namespace).Update(context.Background(), &one, metav1.UpdateOptions{})
		check(err)
	}
}

func deployment(namespace, name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: name, Image: "shop:2.3.1",
				}}},
			},
		},
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
