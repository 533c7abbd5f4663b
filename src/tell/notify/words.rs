//! The words of titles: severities and reasons, in each language.

use crate::api::{
    notice::{Reason, Severity},
    notifier::Language,
};

pub const fn severity(severity: Severity, language: Language) -> &'static str {
    match (severity, language) {
        (Severity::Info, Language::En) => "Info",
        (Severity::Warning, Language::En) => "Warning",
        (Severity::Critical, Language::En) => "Critical",
        (Severity::Info, Language::Zh) => "信息",
        (Severity::Warning, Language::Zh) => "警告",
        (Severity::Critical, Language::Zh) => "严重",
    }
}

pub const fn reason(reason: Reason, language: Language) -> &'static str {
    let (en, zh) = both(reason);
    match language {
        Language::En => en,
        Language::Zh => zh,
    }
}

const fn both(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Accepted => ("accepted", "已受理"),
        Reason::Waiting => ("waiting", "等待中"),
        Reason::Preparing => ("preparing", "准备中"),
        Reason::StepStarted => ("step started", "步骤开始"),
        Reason::Watching => ("watched with all of the traffic", "全量观察中"),
        Reason::Promoting => ("promoting", "正在转正"),
        Reason::Succeeded => ("succeeded", "发布成功"),
        Reason::RollingBack => ("rolling back", "正在回滚"),
        Reason::Reverting => ("traffic is back, reverting", "流量已切回，正在恢复"),
        Reason::Withdrawn => ("withdrawn", "已撤回"),
        Reason::Superseded => ("superseded by a newer version", "已被新版本取代"),
        Reason::RolledBack => ("rolled back", "已回滚"),
        Reason::RollbackFailed => ("rollback failed", "回滚失败"),
        Reason::Paused => ("paused", "已暂停"),
        Reason::Resumed => ("resumed", "已恢复执行"),
        Reason::Retried => ("tried again", "重新尝试"),
        Reason::Stuck => ("stuck", "停滞"),
        Reason::ChangedOutsideRelease => ("changed outside a release", "在发布之外被更改"),
        Reason::Drifted => ("changed by somebody else", "配置被他人改动"),
        Reason::Degraded => ("both versions are bad", "两个版本均异常"),
        Reason::NoData => ("nothing can be measured", "没有监控数据"),
        Reason::OrderRefused => ("order refused", "指令被拒绝"),
        Reason::HistoryDropped => ("a line of its history was dropped", "一条历史记录被移除"),
        Reason::TargetMissing => ("target missing", "目标不存在"),
        Reason::Invalid => ("invalid", "配置无效"),
        Reason::Conflict => ("conflict", "冲突"),
        Reason::StatusLost => ("status lost", "状态丢失"),
        Reason::Abandoned => ("abandoned", "已放弃"),
        Reason::StepFailed => ("a step of the rollback plan failed", "回滚步骤失败"),
        Reason::ConfirmationNeeded => ("a person's yes is needed", "需要人工确认"),
    }
}
