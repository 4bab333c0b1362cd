//! What verbs with much to say show below their help.

pub(super) const BACKUP: &str = "\
Examples:
  convault backup nightly
  convault backup nightly --tag before-v2.1 --keep-until 2026-12-24 || exit 1   # in a pipeline";

pub(super) const DOWNLOAD: &str = "\
Examples:
  convault download latest -o snapshot.zip && npx convex import --replace-all snapshot.zip
  convault download latest --identity anna.identity --entry contacts -o contacts.jsonl
  convault download latest --masked --quiet-automations -o staging.zip";

pub(super) const RESTORE: &str = "\
Examples:
  convault restore latest --deployment crm --to staging --dry-run   # only the plan
  convault restore latest --deployment crm --to staging             # an empty deployment
  convault restore ID --to crm --replace crm --pause                # over live data";

pub(super) const FIND: &str = "\
Examples:
  convault find --all --id ID
  convault find latest --table contacts --field address.city=Porto --text invoice";

pub(super) const RECOVER: &str = "\
Examples:
  convault recover SNAPSHOT --id ID --to-file contact.jsonl         # look at it first
  convault recover SNAPSHOT --id ID --to crm --replace crm --pause  # then bring it back
  convault recover SNAPSHOT --id ID --fields stage --to crm --replace crm --pause";

pub(super) const ERASE: &str = "\
Examples:
  convault erase --table contacts --id ID --reason \"request 2026-114\" --dry-run
  convault erase --table contacts --id ID --reason \"request 2026-114\"
  convault erase --rewrite --certificate request-2026-114.json
  convault erase --verify-certificate request-2026-114.json";

pub(super) const DRILL: &str = "\
Examples:
  convault drill weekly --prepare             # once, where the scratch deployment is kept
  convault drill weekly --report drill.html   # practise now, and write a page about it
  convault drill weekly --past                # tell about the newest one";
