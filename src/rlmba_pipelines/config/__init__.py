"""Every parameter of the project, its type, range and default: one class per block of ``conf/base/parameters_*.yml``.

Unknown keys are refused before any node runs. The YAML files repeat the defaults with a word of advice, but for
``experiment``, ``manifest`` and ``system``; a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rlmba_pipelines.config.block import Block
from rlmba_pipelines.config.vlm import VlmConfig

MAIN = "main"  # the experiment that is meant where nobody names one
Share = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0)]
GRID_PIXELS, GRID_BANDS = 32, 40  # what encoders that are trained along see: image side, bands of a log-mel spectrum


class MediaCaps(Block):
    """Limits on what one media file may unpack to; a file over a limit is set aside with its reason."""

    max_bytes: int = Field(200_000_000, gt=0)
    max_pixels: int = Field(50_000_000, gt=0)
    max_seconds: float = Field(600.0, gt=0)


class IngestConfig(Block):
    """Where the samples are and how they are divided."""

    # how --manifest is read
    source: Literal[
        "manifest", "food101", "kinetics_sounds", "vggsound",
        "questions", "gqa", "clevr", "aokvqa", "scienceqa", "vqav2", "mathvista",
    ] = "manifest"
    media_root: str = ""  # empty: the folder of the manifest
    modalities: tuple[str, ...] = ()  # empty: every modality the manifest has
    validation_share: Share = 0.1  # of the groups, where the manifest has labels but no split, or the source no such
    test_share: Share = 0.2
    max_bad_media: Share = 0.01  # more than this share of unreadable samples stops the run
    caps: MediaCaps = MediaCaps()
    split_seed: int = 0
    workers: int = Field(2, ge=1)  # processes that decode media, one thread each


class EncodersConfig(Block):
    """One key a modality: ``auto``, ``tiny``, or ``bundled:``, ``path:``, ``hub:``, ``torchvision:`` and a name."""

    image: str = "auto"
    text: str = "auto"
    audio: str = "auto"
    video: str = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: bool = True  # bfloat16 on CUDA; the CPU always computes in float32
    predict_batch_size: int = Field(32, gt=0)
    workers: int = Field(2, ge=1)  # processes, one thread each
    image_pixels: int = Field(128, ge=16)
    audio_seconds: float = Field(2.5, gt=0)
    video_frames: int = Field(5, ge=1)


SELF_TRAINING = 4000  # samples, where the loss knows probabilities


class FusionConfig(Block):
    """The network that is retrained every round, on frozen features or together with small encoders."""

    @model_validator(mode="before")
    @classmethod
    def _where_it_can(cls, told: Any) -> Any:
        if not isinstance(told, Mapping) or told.get("self_training") is not None:
            return told
        plain = {"mode": "frozen", "loss": "cross_entropy", "gradient": "none"}
        has_student = all(told.get(name, usual) == usual for name, usual in plain.items())
        return {**told, "self_training": SELF_TRAINING if has_student else 0}

    mode: Literal["frozen", "finetune"] = "frozen"  # finetune: small encoders are trained along, on decoded media
    fusion: Literal["concat", "convex", "gated"] = "concat"
    loss: Literal["cross_entropy", "edl"] = "cross_entropy"
    correct_evidence: float = Field(0.0, ge=0)  # of edl: weight of evidence for the true class where there is none
    gradient: Literal["none", "ogm_ge", "mmpareto"] = "none"  # balancing of the modalities' gradients
    ogm_alpha: float = Field(0.3, ge=0)  # of ogm_ge: how hard the leading modality is held back
    early_stopping: bool = False  # keep the weights with the least validation NLL
    self_training: int = Field(SELF_TRAINING, ge=0)  # unlabeled samples that a student learns from too; 0: no student
    reduced_dim: int = Field(128, ge=0)  # principal components kept of each modality; 0 keeps the features as they are
    width: int = Field(128, gt=0)
    n_heads: int = Field(5, ge=1)  # members of the head ensemble, the source of Dirichlet evidence
    activation: Literal["identity", "gelu"] = "identity"  # of a trunk
    dropout: float = Field(0.7, ge=0, le=0.99)
    modality_dropout: float = Field(0.1, ge=0, lt=1)
    unimodal_loss: float = Field(1.0, ge=0)  # weight of each modality's own head beside the fused head
    learning_rate: float = Field(1.25e-2, gt=0)
    encoder_learning_rate: float = Field(2e-3, gt=0)  # of finetune: for the encoders
    weight_decay: float = Field(1e-2, ge=0)
    epochs: int = Field(2, gt=0)  # passes of each head through the labels
    min_steps: int = Field(54, gt=0)  # optimizer steps at least, however few the labels
    train_batch_size: int = Field(64, gt=0)  # samples of each head a step
    accumulate: int = Field(1, ge=1)  # parts that a batch is cut into, where it does not fit the memory
    predict_batch_size: int = Field(1024, gt=0)
    threads: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class EvidenceConfig(Block):
    """How a model's opinion becomes Dirichlet evidence, and how opinions of modalities are fused."""

    source: Literal["ensemble", "edl", "temperature"] = "ensemble"
    rule: Literal["weighted_average", "dempster", "discounted", "true_mean"] = "weighted_average"
    modality_terms: tuple[Literal["dissonance", "mutual_information", "expected_entropy"], ...] = ()  # of each one too


class BalanceConfig(Block):
    """AMCB: how modality weights follow the contributions measured on validation."""

    prior: Literal["uniform", "shapley", "published", "under_use"] = "shapley"
    temperature: float = Field(1.0, gt=0)
    ema: Share = 0.5  # how much of last round's weights stays
    floor: Share = 0.1  # no modality's weight falls below floor / M
    standalone: bool = False  # fit every modality alone too, to report the under-use gap; a fit a modality and round
    enter_fusion: bool = True  # where the weights enter; what is switched off weighs all modalities alike
    enter_evidence: bool = True
    enter_utility: bool = True
    enter_kernel: bool = True

    @property
    def fits_alone(self) -> bool:
        """Whether a round fits every modality alone."""
        return self.standalone or self.prior == "under_use"


class DifficultyConfig(Block):
    """The calibrated probability that the model is wrong, learned from bought labels that it was not fitted on."""

    enabled: bool = False
    folds: int = Field(5, ge=2)  # refits of the network each round
    min_labels: int = Field(100, ge=2)  # below, the margin stands in
    min_errors: int = Field(10, ge=1)  # and where fewer of the labels than this are errors, or are not
    ridge: float = Field(10.0, gt=0)  # penalty on the coefficients of the standardized terms


class RewardConfig(Block):
    """What a policy is rewarded with after each round, on validation."""

    forecast: bool = True  # gain over what the learning curve promised; false: over the round before
    balance_weight: float = Field(0.0, ge=0)  # lambda: accuracy that one unit of lost imbalance is worth
    cost_weight: float = Field(0.0, ge=0)  # accuracy that one unit of price is worth


class PolicyConfig(Block):
    """Which policy decides, and the prior θ it starts from: the ``Action`` of ``learning/types`` but its tilts."""

    name: Literal["fixed", "stage_adaptive", "bandit", "reinforce", "pretrained", "published", "vlm_stages"] = "fixed"
    options: dict[str, Any] = Field(default_factory=dict)
    reward: RewardConfig = RewardConfig()
    fused_uncertainty: Share = 0.5
    fused_kernel: float = Field(0.2, ge=0)
    balanced_kernel: float = Field(0.4, ge=0)
    raw_kernel: float = Field(0.4, ge=0)
    exponent: float = Field(0.5, ge=0)
    bandwidth_quantile: float = Field(0.2, gt=0, le=1)
    rarity: float = Field(0.25, ge=0)
    difficulty: Share = 0.0  # share of the learned difficulty in the utility; needs difficulty.enabled


class Plateau(Block):
    """Stop when the last ``rounds`` rounds together brought less than ``min_gain`` of accuracy."""

    rounds: int = Field(3, ge=1)
    min_gain: float = Field(0.005, ge=0)


class RoundsConfig(Block):
    """What is bought, by which strategy, and when to stop."""

    strategy: str = "herding"
    strategy_options: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)
    rounds: int = Field(5, ge=1)  # batches bought after the start batch
    start_size: int | None = Field(None, ge=2)  # labels bought before the first model; empty: as query_size
    start_strategy: Literal["coverage", "random"] = "coverage"  # how the start batch is drawn; shared by the reference
    query_size: int | None = Field(None, ge=1)  # labels bought each round; empty: 5 % of the pool, 10 to 200
    candidates: int | None = Field(50_000, ge=1)  # of a larger pool so many are looked at a round, drawn anew
    budget: int | None = Field(None, ge=1)  # labels over the whole run, validation included
    max_cost: float | None = Field(None, gt=0)  # money over the whole run, in the unit of the samples' cost
    gain_per_cost: bool = True  # utility counts per unit of price where prices differ
    target_accuracy: float | None = Field(None, gt=0, le=1)
    plateau: Plateau | None = None
    annotator: Literal["auto", "simulated", "files", "label_studio"] = "auto"
    classes: tuple[str, ...] = ()  # names known in advance; empty: from the labels
    validation_share: Share = 0.2  # of the first two batches, where there is no validation split
    threads: int = Field(1, ge=1)  # that a strategy computes with; picks hold, but last bits of gains depend on it
    reference: str | None = "random"  # strategy simulated beside the run for the report, where all labels are known


class LabelingConfig(Block):
    """How people answer, how their answers become one label, and what an answer costs."""

    annotators: int = Field(1, ge=1)  # answers wanted of each sample, of different people
    agreement: Literal["majority", "dawid_skene"] = "majority"
    min_agreement: float = Field(0.5, ge=0, lt=1)  # a label needs more of the votes (posterior) or an adjudicator
    # added by a modality where no cost is given
    prices: dict[Literal["image", "text", "audio", "video"], Price] = Field(default_factory=dict)


class LabelStudioConfig(Block):
    """Where the annotation server is; the token for it comes from the environment or the credentials."""

    url: str = "http://127.0.0.1:8080"
    timeout_seconds: float = Field(120.0, gt=0)  # for one answer of the server
    poll_seconds: float = Field(5.0, gt=0)  # between two looks for new answers, while some come
    max_poll_seconds: float = Field(60.0, gt=0)  # and while none do


class ReportConfig(Block):
    """What the report shows."""

    gallery_per_round: int = Field(60, ge=0)
    title: str = "Which samples were worth labeling"


class BenchmarkConfig(Block):
    """How much of ``conf/benchmark/protocol.yml`` is run."""

    plan: Literal["smoke", "standard", "full"] = "standard"
    sets: tuple[str, ...] = ()  # names in the protocol; empty: all of the plan
    conditions: tuple[str, ...] = ()  # these alone, "main" or a control, of the full plan
    strategies: tuple[str, ...] = ()  # these alone, of the full plan
    workers: int = Field(2, ge=1)  # runs side by side, one thread each


class TrackingConfig(Block):
    """Whether rounds are told to MLflow and OpenLineage, and where those are."""

    mlflow: bool = False
    uri: str = "sqlite:///mlflow.db"
    register_model: bool = True  # the closing model of a run, as a bundle
    openlineage: tuple[str, ...] = ()  # servers and files of JSON Lines that get events; empty: off


class Parameters(Block):
    """The whole of ``parameters_*.yml``, and the names that scope a run."""

    experiment: str = MAIN  # every file of a run lies under this name
    manifest: str | None = None  # empty: the one in the catalog
    system: Literal["rl_mba", "active_vlm"] = "rl_mba"  # active_vlm: visual questions (--env vqa)
    rounds: RoundsConfig = RoundsConfig()
    ingest: IngestConfig = IngestConfig()
    encoders: EncodersConfig = EncodersConfig()
    fusion: FusionConfig = FusionConfig()
    vlm: VlmConfig = VlmConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    difficulty: DifficultyConfig = DifficultyConfig()
    balance: BalanceConfig = BalanceConfig()
    policy: PolicyConfig = PolicyConfig()
    labeling: LabelingConfig = LabelingConfig()
    label_studio: LabelStudioConfig = LabelStudioConfig()
    report: ReportConfig = ReportConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    tracking: TrackingConfig = TrackingConfig()
