import pytest

from aifarm.train.settings import SETTINGS, complete


def test_what_is_left_out_comes_from_the_package_and_then_from_the_farm():
    cfg = complete({"seed": None, "width": 4}, {"epochs": 30, "width": 8, "depth": 2})
    assert (cfg["seed"], cfg["epochs"], cfg["batch_size"]) == (0, 30, 32)
    assert (cfg["width"], cfg["depth"]) == (4, 2)


def test_without_declared_defaults_any_key_of_ones_own_is_welcome():
    assert complete({"own": None, "other": [1]}) | {"own": None} == complete({"other": [1]}) | {
        "own": None
    }
    assert complete({"own": None})["own"] is None


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"epochs": True}, "epochs is True; it must be a whole number, 1 or more"),
        ({"precision": "fp8"}, "precision is 'fp8'; it must be one of fp32, bf16 and fp16"),
        (
            {"compress_gradients": 1.5},
            'compress_gradients is 1.5; it must be true, false or "auto"',
        ),
        ({"clip_norm": 0}, "clip_norm is 0; it must be a number above 0"),
        ({"grad_accumulation": 0}, "grad_accumulation is 0; it must be a whole number, 1 or more"),
        ({"max_seconds": "1h"}, "max_seconds is '1h'; it must be a number of seconds above 0"),
        ({"compile": "yes"}, "compile is 'yes'; it must be true or false"),
        (
            {"early_stopping": {"metric": "val_loss"}},
            "early_stopping is {'metric': 'val_loss'}; it must be "
            '{"metric": a name, "patience": a whole number, "mode": "min" or "max"}',
        ),
        (
            {"best": {"metric": "accuracy", "mode": "up"}},
            "best is {'metric': 'accuracy', 'mode': 'up'}; it must be "
            '{"metric": a name, "mode": "min" or "max"}',
        ),
        (
            {"widht": 4},
            "widht is neither a setting of the farm nor one that the package declares (lr, width)"
            ": did you mean width?",
        ),
        (
            {"a": 4},
            "a is neither a setting of the farm nor one that the package declares (lr, width)",
        ),
        ({"width": "wide"}, "width is 'wide'; it must be a value of type int"),
        ({"width": True}, "width is True; it must be a value of type int"),
    ],
)
def test_what_does_not_fit_is_one_sentence(config, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole text is compared)
        complete(config, {"width": 8, "lr": 0.1, "epochs": 3})
    assert str(caught.value) == sentence


def test_a_whole_number_is_a_float_too():
    assert complete({"lr": 1}, {"lr": 0.1})["lr"] == 1


def test_what_the_farm_adds_to_a_config_is_no_key_of_the_package():
    added = {"name": "mine", "url": "http://farm/models/mine/1", "version": "1"}
    added |= {"distributed": False, "rank": 0, "world_size": 1}
    assert complete(added, {"lr": 0.1}).items() >= added.items()


def test_every_default_fits_its_own_rule():
    for setting in SETTINGS.values():
        assert setting.default is None or setting.fits(setting.default)
