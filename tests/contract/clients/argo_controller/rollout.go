package main

import (
	"context"
	"time"

	"github.com/argoproj/argo-rollouts/controller/metrics"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/pkg/client/clientset/versioned/fake"
	informers "github.com/argoproj/argo-rollouts/pkg/client/informers/externalversions"
	"github.com/argoproj/argo-rollouts/rollout"
	ingressutil "github.com/argoproj/argo-rollouts/utils/ingress"
	istioutil "github.com/argoproj/argo-rollouts/utils/istio"
	"github.com/argoproj/argo-rollouts/utils/queue"
	"github.com/argoproj/argo-rollouts/utils/record"
	"github.com/argoproj/argo-rollouts/utils/tolerantinformer"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/dynamicinformer"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	kubeinformers "k8s.io/client-go/informers"
	kubefake "k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/yaml"
)

// templates are read as Argo's own program does, anew each time: its rollouts controller
// writes into what it has read.
var templates = v1alpha1.SchemeGroupVersion.WithResource("analysistemplates")

const (
	replicas = 10
	// deadline is longer, by the fast clock, than a rollout may ever take here.
	deadline = 1_000_000
)

// rollouts is Argo's controller of rollouts, and what it is asked through.
type rollouts struct {
	controller *rollout.Controller
	kube       *kubefake.Clientset
	argo       *fake.Clientset
	dynamic    *dynamicfake.FakeDynamicClient
	work       fastQueue
}

// unresolved stands for workloads that rollouts refer to: none here does.
type unresolved struct{}

func (unresolved) Resolve(*v1alpha1.Rollout) error { return nil }

func newRollouts(
	kube *kubefake.Clientset, argo *fake.Clientset,
	kubeInformers kubeinformers.SharedInformerFactory, argoInformers informers.SharedInformerFactory,
) rollouts {
	services, rules := istioutil.GetIstioVirtualServiceGVR(), istioutil.GetIstioDestinationRuleGVR()
	mesh := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		services: services.Resource + "List", rules: rules.Resource + "List",
		templates: "AnalysisTemplateList",
	})
	meshInformers := dynamicinformer.NewDynamicSharedInformerFactory(mesh, 0)
	ingresses, err := ingressutil.NewIngressWrapper(ingressutil.IngressModeNetworking, kube, kubeInformers)
	check(err)
	newQueue := func(name string) fastQueue {
		return fastQueue{workqueue.NewNamedRateLimitingQueue(queue.DefaultArgoRolloutsRateLimiter(), name)}
	}
	work, found := newQueue("rollouts"), argoInformers.Argoproj().V1alpha1()
	controller := rollout.NewController(rollout.ControllerConfig{
		Namespace:                       metav1.NamespaceAll,
		KubeClientSet:                   kube,
		ArgoProjClientset:               argo,
		DynamicClientSet:                mesh,
		RefResolver:                     unresolved{},
		ExperimentInformer:              found.Experiments(),
		AnalysisRunInformer:             found.AnalysisRuns(),
		AnalysisTemplateInformer:        tolerantinformer.NewTolerantAnalysisTemplateInformer(meshInformers),
		ClusterAnalysisTemplateInformer: found.ClusterAnalysisTemplates(),
		ReplicaSetInformer:              kubeInformers.Apps().V1().ReplicaSets(),
		ServicesInformer:                kubeInformers.Core().V1().Services(),
		IngressWrapper:                  ingresses,
		RolloutsInformer:                found.Rollouts(),
		IstioPrimaryDynamicClient:       mesh,
		IstioVirtualServiceInformer:     meshInformers.ForResource(services).Informer(),
		IstioDestinationRuleInformer:    meshInformers.ForResource(rules).Informer(),
		RolloutWorkQueue:                work,
		ServiceWorkQueue:                newQueue("services"),
		IngressWorkQueue:                newQueue("ingresses"),
		MetricsServer: metrics.NewMetricsServer(metrics.ServerConfig{
			K8SRequestProvider: &metrics.K8sRequestsCountProvider{},
		}),
		Recorder: record.NewFakeEventRecorder(),
	})
	// Kubernetes names each object; Argo tells replica sets apart by that.
	kube.PrependReactor("create", "replicasets", func(action k8stesting.Action) (bool, runtime.Object, error) {
		set := action.(k8stesting.CreateAction).GetObject().(*appsv1.ReplicaSet)
		set.UID = types.UID(set.Namespace + "/" + set.Name)
		return false, nil, nil
	})
	meshInformers.Start(context.Background().Done())
	meshInformers.WaitForCacheSync(context.Background().Done())
	return rollouts{controller, kube, argo, mesh, work}
}

// play deploys a first image, then a second one, and waits until that is stable, was
// aborted, or is paused.
func (r rollouts) play(ctx context.Context, one oneCase) outcome {
	template, _ := templateOf(one)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(template)
	check(err)
	_, err = r.dynamic.Resource(templates).Namespace(one.Name).Create(
		ctx, &unstructured.Unstructured{Object: fields}, metav1.CreateOptions{})
	check(err)
	wanted, all := rolloutOf(one), r.argo.ArgoprojV1alpha1().Rollouts(one.Name)
	_, err = all.Create(ctx, wanted, metav1.CreateOptions{})
	check(err)
	r.until(ctx, one.Name, func(is *v1alpha1.Rollout) bool { return is.Status.StableRS != "" })
	is, err := all.Get(ctx, one.Name, metav1.GetOptions{})
	check(err)
	first := is.Status.StableRS
	is.Generation++
	is.Spec.Template.Spec.Containers[0].Image = "shop:2.4.0"
	_, err = all.Update(ctx, is, metav1.UpdateOptions{})
	check(err)
	is = r.until(ctx, one.Name, func(is *v1alpha1.Rollout) bool {
		isPromoted := is.Status.StableRS != first && is.Status.Phase == v1alpha1.RolloutPhaseHealthy
		return isPromoted || is.Status.Abort || len(is.Status.PauseConditions) > 0
	})
	found := outcome{Phase: string(is.Status.Phase), Message: is.Status.Message, Aborted: is.Status.Abort}
	if is.Status.CurrentStepIndex != nil {
		found.Step = *is.Status.CurrentStepIndex
	}
	for _, why := range is.Status.PauseConditions {
		found.Pauses = append(found.Pauses, string(why.Reason))
	}
	sets, err := r.kube.AppsV1().ReplicaSets(one.Name).List(ctx, metav1.ListOptions{})
	check(err)
	for _, set := range sets.Items {
		if set.Labels[v1alpha1.DefaultRolloutUniqueLabelKey] != first {
			found.Weight = 100 * *set.Spec.Replicas / replicas
		}
	}
	return found
}

// until does for all replica sets what Kubernetes would, until a rollout is as wanted and
// its controller has had the time to see to the consequences.
func (r rollouts) until(ctx context.Context, name string, isSo func(*v1alpha1.Rollout) bool) *v1alpha1.Rollout {
	for left := 10; ; {
		r.makeReady(ctx, name)
		// Fakes give no resource versions, by which the controller tells what is new.
		r.work.Add(name + "/" + name)
		is, err := r.argo.ArgoprojV1alpha1().Rollouts(name).Get(context.Background(), name, metav1.GetOptions{})
		check(err)
		if isSo(is) {
			left--
		}
		if left == 0 || ctx.Err() != nil {
			return is
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (r rollouts) makeReady(ctx context.Context, namespace string) {
	sets := r.kube.AppsV1().ReplicaSets(namespace)
	all, err := sets.List(context.Background(), metav1.ListOptions{})
	check(err)
	for _, one := range all.Items {
		if number := *one.Spec.Replicas; one.Status.AvailableReplicas != number {
			one.Status = appsv1.ReplicaSetStatus{
				Replicas: number, FullyLabeledReplicas: number, ReadyReplicas: number, AvailableReplicas: number,
			}
			_, err = sets.UpdateStatus(context.Background(), &one, metav1.UpdateOptions{})
			check(err)
		}
	}
}

// rolloutOf is a canary with the case's steps.
func rolloutOf(one oneCase) *v1alpha1.Rollout {
	var steps []v1alpha1.CanaryStep
	check(yaml.UnmarshalStrict([]byte(one.Steps), &steps))
	labels, number, most := map[string]string{"app": "shop"}, int32(replicas), int32(deadline)
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: one.Name, Namespace: one.Name, UID: types.UID(one.Name), Generation: 1},
		Spec: v1alpha1.RolloutSpec{
			Replicas:                &number,
			ProgressDeadlineSeconds: &most,
			Selector:                &metav1.LabelSelector{MatchLabels: labels},
			Strategy:                v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: steps}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "shop", Image: "shop:2.3.1"}}},
			},
		},
	}
}
