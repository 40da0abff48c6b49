"""Malicious requests: each has a body and the JSON pointer of the field at which it must be refused."""

from typing import Any

HUGE = 10**9
LINEAR = {"type": "linear", "out_features": 10}


def _model(**fields: Any) -> dict[str, Any]:
    return {"model": fields}


def _data(**fields: Any) -> dict[str, Any]:
    return {"model": {"kind": "transformer"}, "config": {"data": fields}}


def _training(**fields: Any) -> dict[str, Any]:
    return {"model": {"kind": "mlp"}, "config": {"training": fields}}


def _gpt2(**config: Any) -> dict[str, Any]:
    return _model(kind="transformers", preset="gpt2", config=config)


def _layers(*layers: Any, **fields: Any) -> dict[str, Any]:
    return _model(kind="layers", input_shape=[3, 8, 8], layers=list(layers), **fields)


PATHS = {
    "a path out of the directory": (_data(kind="text", name="../../etc/passwd"), "/config/data/name"),
    "an absolute path": (_data(kind="text", name="/etc/shadow"), "/config/data/name"),
    "a path that climbs in its middle": (_data(kind="arrays", name="a/../../b.npz"), "/config/data/name"),
    "a NUL in a path": (_data(kind="text", name="corpus.txt\x00.npz"), "/config/data/name"),
    "a pickle": (_data(kind="arrays", name="weights.pkl"), "/config/data/name"),
    "a device": (_data(kind="text", name="/dev/zero"), "/config/data/name"),
    "a path as a plugin": (_data(kind="plugin", name="../os"), "/config/data/name"),
    "a path as an architecture": (
        _model(kind="transformers", model_type="../../tmp/evil", task="causal-lm"),
        "/model/model_type",
    ),
}

CODE = {
    "auto_map": (_gpt2(auto_map={"AutoConfig": "evil--repo.Config"}), "/model/config/auto_map"),
    "trust_remote_code": (_gpt2(trust_remote_code=True), "/model/config/trust_remote_code"),
    "a model to download": (
        _gpt2(tokenizer_name_or_path="evil/repo"),
        "/model/config/tokenizer_name_or_path",
    ),
    "a backbone to download": (_gpt2(backbone="evil/repo"), "/model/config/backbone"),
    "an address": (_gpt2(activation_function="http://evil/x.py"), "/model/config/activation_function"),
    "an architecture that does not exist": (
        _model(kind="transformers", model_type="os.system", task="causal-lm"),
        "/model/model_type",
    ),
    "a dotted layer": (_layers({"type": "os.system"}), "/model/layers/0"),
    "a module as a plugin": (_model(kind="plugin", name="os:system"), "/model/name"),
    "a dunder as an argument": (
        _model(kind="plugin", name="rings", arguments={"a.__class__": 1}),
        "/model/arguments/a.__class__",
    ),
    "a kind that is code": (_model(kind="__import__('os')"), "/model"),
}

SIZES = {
    "10⁹ layers of a transformer": (_model(kind="transformer", num_layers=HUGE), "/model/num_layers"),
    "10⁹ layers of an mlp": (_model(kind="mlp", num_layers=HUGE), "/model/num_layers"),
    "10⁹ layers of gpt2": (_gpt2(n_layer=HUGE), "/model/config/n_layer"),
    "10⁹ as the number of layers": (_layers(LINEAR, num_layers=HUGE), "/model/num_layers"),
    "50,000 layers": (_layers(*[{"type": "relu"}] * 50_000), "/model/layers"),
    "a giant width": (_model(kind="transformer", hidden_size=HUGE), "/model/hidden_size"),
    "a giant vocabulary": (_gpt2(vocab_size=10**12), "/model/config/vocab_size"),
    "a giant linear layer": (
        _layers({"type": "flatten"}, LINEAR | {"out_features": 10**12}),
        "/model/layers/1/out_features",
    ),
    "a giant image": (_model(kind="layers", input_shape=[3, HUGE, HUGE], layers=[LINEAR]), "/model/input_shape/1"),
    "a tensor that no machine holds": (
        _model(kind="layers", input_shape=[65_536, 65_536, 65_536], layers=[LINEAR]),
        "/model/input_shape",
    ),
    "sizes that fit one by one": (
        _model(kind="transformer", hidden_size=16_384, num_heads=1, num_layers=256, vocab_size=131_072),
        "/model",
    ),
    "a giant batch": (_training(batch_size=HUGE), "/config/training/batch_size"),
    "10⁹ steps": (_training(steps=HUGE), "/config/training/steps"),
    "zero layers": (_model(kind="transformer", num_layers=0), "/model/num_layers"),
    "zero width": (_gpt2(n_embd=0), "/model/config/n_embd"),
    "zero features": (_layers({"type": "flatten"}, LINEAR | {"out_features": 0}), "/model/layers/1/out_features"),
    "an image of no pixels": (_model(kind="layers", input_shape=[3, 0, 8], layers=[LINEAR]), "/model/input_shape/1"),
    "a negative width": (_model(kind="mlp", hidden_size=-1), "/model/hidden_size"),
    "a negative number of layers": (_gpt2(n_layer=-12), "/model/config/n_layer"),
    "a negative kernel": (
        _layers({"type": "conv2d", "out_channels": 8, "kernel_size": -3}),
        "/model/layers/0/kernel_size",
    ),
    "a negative batch": (_training(batch_size=-16), "/config/training/batch_size"),
    "a size beyond any integer": (_model(kind="mlp", hidden_size=10**400), "/model/hidden_size"),
    "a fraction of a layer": (_model(kind="mlp", num_layers=1.5), "/model/num_layers"),
}

NAMES = {
    "a kind in wide letters": (_model(kind="ｍｌｐ"), "/model"),
    "a layer in wide letters": (_layers({"type": "ｌｉｎｅａｒ"}), "/model/layers/0"),
    "an architecture in Cyrillic": (
        _model(kind="transformers", model_type="gрt2", task="causal-lm"),
        "/model/model_type",
    ),
    "a preset with an invisible letter": (_model(kind="transformers", preset="gpt2\u200b"), "/model/preset"),
    "a setting in Unicode": (_gpt2(**{"ｎ_layer": 1}), "/model/config/ｎ_layer"),
    "a plugin in Unicode": (_model(kind="plugin", name="ring\u202es"), "/model/name"),
    "a lone surrogate": (_data(kind="text", name="\ud800.txt"), "/config/data/name"),
    "a name of 10,000 letters": (
        _model(kind="transformers", model_type="g" * 10_000, task="causal-lm"),
        "/model/model_type",
    ),
}

ATTACKS: dict[str, tuple[dict[str, Any], str]] = PATHS | CODE | SIZES | NAMES
