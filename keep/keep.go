package keep
import (
 _ "sigs.k8s.io/yaml/goyaml.v3"
 _ "github.com/google/go-cmp/cmp"
 _ "k8s.io/client-go/dynamic/dynamicinformer"
 _ "k8s.io/client-go/discovery/cached/memory"
 _ "k8s.io/client-go/restmapper"
 _ "k8s.io/client-go/tools/clientcmd"
 _ "k8s.io/client-go/plugin/pkg/client/auth"
 _ "sigs.k8s.io/cluster-api/api/core/v1beta2"
 _ "github.com/urfave/cli/v2"
 _ "gopkg.in/evanphx/json-patch.v4"
 _ "github.com/rogpeppe/go-internal/testscript"
 _ "github.com/gofrs/flock"
 _ "golang.org/x/term"
 _ "k8s.io/apimachinery/pkg/util/version"
)
