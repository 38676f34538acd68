//! `advisor memory`.

use super::{
    Outcome,
    args::Global,
    books,
    folders::Folders,
    memory_args::{
        AttentionArg, BaseArg, MemoryArgs, OptimizerArg, PrecisionArg, ShardingArg, TargetsArg,
        TaskArg,
    },
    memory_onnx, output,
};
use crate::{
    error::{Error, Result},
    measure,
    plan::{
        memory::{
            self, AttentionKind, BaseFormat, Footprint, ImageSide, Largest, LoraSettings,
            LoraTargets, Optimizer, Precision, Question, Sharding, Strategy, Subject, Task,
            architecture::{catalogue, from_config_json},
            evaluate::{evaluate, held_out, summaries},
        },
        pricing::{Offer, PriceBook, Term, implausibly_cheap},
    },
    profile::{hardware::GpuSpec, hardware_book::HardwareBook, machine::Gpus},
    render::{CardReport, Explain, MemoryReport, evaluation_report, memory_report},
    units::Bytes,
};

pub(super) fn run(global: &Global, args: &MemoryArgs) -> Result<Outcome> {
    if args.subject.evaluate {
        let evaluation = evaluate()?;
        let summaries = summaries(&evaluation.cases);
        let held_out = held_out(&evaluation.cases);
        let (report, value) = evaluation_report(&evaluation, &summaries, &held_out);
        output::print(global, &report, &value)?;
        return Ok(Outcome::Found);
    }
    if let Some(name) = &args.subject.model {
        return memory_onnx::run(global, args, name);
    }
    if args.measure || !args.dims.is_empty() {
        return Err(Error::bad_input(
            "--measure and --dim go with `--model` only: there is no file to load",
        )
        .hint("name a reference model or an ONNX file, as in `--model minilm-l6`"));
    }
    let question = question(args)?;
    let footprint = memory::estimate(&question)?;
    let folders = Folders::resolve(global)?;
    let hardware = books::hardware(&folders)?;
    let book = books::current(&folders, &hardware)?;
    let asked = asked_cards(args, &hardware)?;
    let cards = if asked.is_empty() {
        memory::tiers(&footprint)
            .into_iter()
            .map(|(tier, fit)| {
                CardReport::of_tier(
                    &tier,
                    &fit,
                    cheapest(&book, &hardware, tier.usable, question.sharding.cards),
                )
            })
            .collect()
    } else {
        asked
            .iter()
            .map(|card| card_report(card, &question, &footprint, &book))
            .collect::<Result<Vec<_>>>()?
    };
    let report = MemoryReport::new(&question, &footprint, cards, book.hash().to_string());
    let explain = if args.explain {
        Explain::Yes
    } else {
        Explain::No
    };
    let outcome = if report.anything_fits() {
        Outcome::Found
    } else {
        Outcome::NothingFits
    };
    output::print(global, &memory_report(&report, explain), &report)?;
    Ok(outcome)
}

/// A card that was asked about.
struct Card {
    name: String,
    usable: Bytes,
    spec: Option<GpuSpec>,
}

fn asked_cards(args: &MemoryArgs, hardware: &HardwareBook) -> Result<Vec<Card>> {
    if let Some(name) = &args.on {
        let spec = find_gpu(name, hardware)?;
        return Ok(vec![Card {
            name: spec.name.clone(),
            usable: spec.memory_bytes,
            spec: Some(spec.clone()),
        }]);
    }
    if !args.here {
        return Ok(Vec::new());
    }
    let machine = measure::probe::probe();
    let why = match &machine.gpus {
        Gpus::NoDriver { tried } => format!("no NVIDIA driver ({tried})"),
        Gpus::DriverFailed { why } | Gpus::NoDevice { why } => why.clone(),
        Gpus::Found { .. } => "the memory of the GPUs could not be read".to_owned(),
    };
    let cards: Vec<Card> = machine
        .gpus
        .devices()
        .iter()
        .filter_map(|gpu| {
            let total = *gpu.memory_bytes.known()?;
            // What others hold cannot be had.
            let used = gpu.memory_used_bytes.known().copied().unwrap_or_default();
            Some(Card {
                name: format!("GPU {} ({})", gpu.cuda_index, gpu.name),
                usable: total - used,
                spec: None,
            })
        })
        .collect();
    if cards.is_empty() {
        return Err(Error::machine(format!(
            "--here: this machine has no GPU to ask about: {why}"
        ))
        .hint("ask about a GPU by name, as in `--on \"NVIDIA L4\"`"));
    }
    Ok(cards)
}

/// A GPU by its short name, its NVML name, or that without the vendor.
fn find_gpu<'h>(name: &str, hardware: &'h HardwareBook) -> Result<&'h GpuSpec> {
    let bare = |text: &str| {
        text.to_lowercase()
            .replace("nvidia", "")
            .replace("geforce", "")
            .replace("tesla", "")
            .replace([' ', '-', '_'], "")
    };
    hardware
        .gpu(name)
        .or_else(|| hardware.gpu_by_nvml_name(name))
        .or_else(|| {
            hardware
                .gpus()
                .find(|gpu| bare(&gpu.name) == bare(name) || bare(&gpu.nvml_name) == bare(name))
        })
        .ok_or_else(|| {
            let short = name
                .trim_start_matches("NVIDIA ")
                .trim_start_matches("nvidia ");
            let mut near = hardware.gpus_like(name);
            near.extend(hardware.gpus_like(short));
            near.dedup();
            if near.is_empty() {
                // Names of two letters are never alike enough: the same family then.
                let first = short.chars().next();
                near.extend(
                    hardware
                        .gpus()
                        .map(|gpu| gpu.name.as_str())
                        .filter(|known| known.chars().next() == first)
                        .take(4),
                );
            }
            let error = Error::bad_input(format!("--on: no GPU is called `{name}`"));
            if near.is_empty() {
                error.hint("use the name that `nvidia-smi` shows, as in `--on \"NVIDIA L4\"`")
            } else {
                error.hint(format!("did you mean `{}`?", near.join("` or `")))
            }
        })
}

fn card_report(
    card: &Card,
    question: &Question,
    footprint: &Footprint,
    book: &PriceBook,
) -> Result<CardReport> {
    let fit = memory::fit(footprint, card.usable);
    let cards = question.sharding.cards;
    let offer = card.spec.as_ref().and_then(|spec| {
        cheapest_where(book, cards, |offer| {
            offer.gpu.as_ref().is_some_and(|gpu| gpu.name == spec.name)
        })
    });
    let batch = memory::largest_batch(question, card.usable)?;
    // Networks on images have no sequences.
    let sequence = memory::largest_sequence(question, card.usable).unwrap_or(Largest {
        fits: None,
        tight: None,
    });
    Ok(CardReport::of_card(
        &card.name,
        &fit,
        offer,
        (batch, sequence),
    ))
}

/// The cheapest machine with enough cards of at least that much usable memory.
fn cheapest(
    book: &PriceBook,
    hardware: &HardwareBook,
    usable: Bytes,
    cards: u64,
) -> Option<String> {
    cheapest_where(book, cards, |offer| {
        offer.gpu.as_ref().is_some_and(|gpu| {
            gpu.memory >= usable
                && hardware
                    .gpu(&gpu.name)
                    .is_some_and(|spec| spec.vendor == "nvidia")
        })
    })
}

fn cheapest_where(book: &PriceBook, cards: u64, wanted: impl Fn(&Offer) -> bool) -> Option<String> {
    let doubtful = implausibly_cheap(book, Term::OnDemand);
    book.all()
        .iter()
        .filter(|offer| !doubtful.contains(offer))
        .filter(|offer| {
            offer
                .gpu
                .as_ref()
                .is_some_and(|gpu| gpu.share.is_none() && u64::from(gpu.count) >= cards)
                && wanted(offer)
        })
        .filter_map(|offer| Some((offer.price(Term::OnDemand)?.per_hour, offer)))
        .min_by(|a, b| {
            (a.0, &a.1.provider, &a.1.instance_type).cmp(&(b.0, &b.1.provider, &b.1.instance_type))
        })
        .map(|(price, offer)| format!("{price} {offer}"))
}

fn question(args: &MemoryArgs) -> Result<Question> {
    let task = task(args);
    let subject = subject(args, task)?;
    let mut question = Question::new(subject, task);
    if let Some(precision) = args.precision {
        question.precision = self::precision(precision);
    }
    question.optimizer = match args.optimizer {
        OptimizerArg::Sgd => Optimizer::Sgd,
        OptimizerArg::Momentum => Optimizer::Momentum,
        OptimizerArg::Adam => Optimizer::Adam,
        OptimizerArg::Adamw => Optimizer::AdamW,
        OptimizerArg::Adam8bit => Optimizer::Adam8bit,
        OptimizerArg::Adafactor => Optimizer::Adafactor,
        OptimizerArg::PagedAdamw => Optimizer::PagedAdamW,
        OptimizerArg::PagedAdamw8bit => Optimizer::PagedAdamW8bit,
    };
    question.batch = match args.batch.as_slice() {
        [] => 1,
        [one] => *one,
        _ => {
            return Err(
                Error::bad_input("--batch: several sizes go with `--model` only")
                    .hint("give one, as in `--batch 8`"),
            );
        }
    };
    question.accumulation = args.accumulation;
    question.sequence = args.sequence;
    question.new_tokens = args.new_tokens;
    question.image_side = args.image;
    question.checkpointing = args.checkpointing;
    question.attention = match args.attention {
        AttentionArg::Fused => AttentionKind::Fused,
        AttentionArg::Eager => AttentionKind::Eager,
    };
    question.sharding = Sharding {
        cards: args.cards,
        strategy: match args.sharding {
            ShardingArg::Replicated => Strategy::Replicated,
            ShardingArg::Zero1 => Strategy::Zero1,
            ShardingArg::Zero2 => Strategy::Zero2,
            ShardingArg::Zero3 => Strategy::Zero3,
            ShardingArg::Tensor => Strategy::Tensor,
            ShardingArg::Layers => Strategy::Layers,
        },
    };
    Ok(question)
}

fn task(args: &MemoryArgs) -> Task {
    let lora = LoraSettings {
        targets: match args.targets {
            TargetsArg::QueryValue => LoraTargets::QueryValue,
            TargetsArg::AllLinear => LoraTargets::AllLinear,
            TargetsArg::AllLinearAndHead => LoraTargets::AllLinearAndHead,
        },
        ..LoraSettings::new(args.rank)
    };
    match args.task {
        TaskArg::Inference => Task::Inference,
        TaskArg::Scoring => Task::Scoring,
        TaskArg::Finetune => Task::Finetune,
        TaskArg::Train => Task::Train,
        TaskArg::Lora => Task::Lora(lora),
        TaskArg::Qlora => Task::Qlora(
            lora,
            match args.base {
                BaseArg::Nf4 => BaseFormat::Nf4,
                BaseArg::Nf4Double => BaseFormat::Nf4Double,
                BaseArg::Nf4DoublePrepared => BaseFormat::Nf4DoublePrepared,
                BaseArg::Int8 => BaseFormat::Int8,
                BaseArg::Gptq4 => BaseFormat::Gptq4,
            },
        ),
    }
}

const fn precision(precision: PrecisionArg) -> Precision {
    match precision {
        PrecisionArg::Fp32 => Precision::Fp32,
        PrecisionArg::Fp16 => Precision::Fp16,
        PrecisionArg::Bf16 => Precision::Bf16,
        PrecisionArg::Mixed => Precision::MixedBf16,
        PrecisionArg::MixedFp16 => Precision::MixedFp16,
        PrecisionArg::Bf16Master => Precision::Bf16Master,
        PrecisionArg::Fp8 => Precision::Fp8,
        PrecisionArg::Int8 => Precision::Int8,
        PrecisionArg::Int4 => Precision::Int4,
    }
}

fn subject(args: &MemoryArgs, task: Task) -> Result<Subject> {
    let subject = &args.subject;
    if let Some(count) = subject.params {
        let side = if args.image.is_some() {
            ImageSide::Given
        } else {
            ImageSide::Absent
        };
        return Ok(Subject::Parameters {
            count,
            kind: memory::guess_kind(count, task, side),
        });
    }
    if let Some(path) = &subject.config {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::bad_input(format!("--config: cannot read `{shown}`: {error}"))
        })?;
        return Ok(Subject::Architecture(Box::new(from_config_json(
            &shown, &text,
        )?)));
    }
    let name = subject.arch.as_deref().ok_or_else(|| {
        Error::bad_input("no model was named").hint("give --params, --arch or --config")
    })?;
    Ok(Subject::Architecture(Box::new(
        catalogue()?.find(name)?.clone(),
    )))
}
