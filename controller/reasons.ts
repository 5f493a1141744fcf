/** Reason codes that the controller writes into status; docs/reasons.md explains each. */

/** Of a record; agents add reasons of their own. */
export const recordReasons = {
  /** There is no pod of that UID any more. */
  targetGone: "TargetGone",
  /** Every pod of the other side is gone: there is nothing to fault until one comes. */
  noPeers: "NoPeers",
  /** The sidecar could not be dialled, so the fault is not in force yet. */
  unreachable: "Unreachable",
  /** No heartbeat reached the sidecar for longer than the lease: the fault is lifted until one does. */
  leaseExpired: "LeaseExpired",
  /** The fault was to be taken back and nobody could say whether it is. */
  recoveryUnconfirmed: "RecoveryUnconfirmed",
  /** The fault could not be taken back; it is tried again. */
  recoverFailed: "RecoverFailed",
  /** The API server refused to delete the pod. */
  killFailed: "KillFailed",
  /** In force, and the pod is Ready all the same: nothing comes of it. */
  stillReady: "StillReady",
  /** Somebody set another image while ours stood in the pod. */
  imageChanged: "ImageChanged",
  /** The API server refused to change the pod. */
  changeFailed: "ChangeFailed",
  /** Our annotation on the pod says nothing that can be read. */
  claimUnreadable: "ClaimUnreadable",
  /** The images of the pod are not its own: Chaos Mesh did not put them back. */
  leftByChaosMesh: "LeftByChaosMesh",
  /** In force, and packets to some Services pass. */
  serviceNotMatchable: "ServiceNotMatchable",
} as const;

/** Of a condition. */
export const conditionReasons = {
  targetsSelected: "TargetsSelected",
  noTargets: "NoTargets",
  tooManyTargets: "TooManyTargets",
  notSelectedYet: "NotSelectedYet",
  notYetSupported: "NotYetSupported",
  invalidSpec: "InvalidSpec",
  noAuthor: "NoAuthor",
  forbidden: "Forbidden",
  namespaceNotOptedIn: "NamespaceNotOptedIn",
  policyViolation: "PolicyViolation",
  budgetExceeded: "BudgetExceeded",
  halted: "Halted",
  allTargetsInjected: "AllTargetsInjected",
  injecting: "Injecting",
  targetsGone: "TargetsGone",
  stopped: "Stopped",
  allTargetsRecovered: "AllTargetsRecovered",
  recovering: "Recovering",
  running: "Running",
  pausedByAnnotation: "PausedByAnnotation",
  notPaused: "NotPaused",
} as const;
