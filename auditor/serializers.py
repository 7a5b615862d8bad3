"""The shapes of what `auditor.render` makes, for the generated documentation.

Answers are rendered as plain objects, which is many times faster; a test keeps the two alike.
"""

from __future__ import annotations

from typing import Any

from drf_yasg import openapi
from rest_framework import serializers

ADDRESS = "0x and 40 hexadecimal digits, case as in EIP-55"
AMOUNT = "integer in the token's smallest unit"
HASH = "0x and 64 hexadecimal digits"
SIGNATURE = "r, s, v: 130 hexadecimal digits without 0x"
RAW_HASH = "64 hexadecimal digits without 0x"

Fields = serializers.Serializer[Any]


class AmountText(serializers.CharField):
    """An amount as decimal text."""

    class Meta:
        swagger_schema_fields = {
            "type": openapi.TYPE_STRING,
            "pattern": "^[0-9]+$",
            "example": "5000000000000000001",
        }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"help_text": AMOUNT, **kwargs})


def _text(meaning: str, *, null: bool = False) -> serializers.CharField:
    return serializers.CharField(help_text=meaning, allow_null=null)


def _hashes(meaning: str) -> serializers.ListField:
    return serializers.ListField(child=_text(HASH), help_text=meaning)


class HeadSerializer(Fields):
    """A block and its eon."""

    block = serializers.IntegerField()
    eon_number = serializers.IntegerField()

    class Meta:
        ref_name = "Head"


class PositionsSerializer(Fields):
    """Where the hub stands on the chain."""

    latest = HeadSerializer(help_text="newest block seen")
    confirmed = HeadSerializer(help_text="newest block whose events are applied")

    class Meta:
        ref_name = "Positions"


class StatusSerializer(PositionsSerializer):
    """Where the hub stands on the chain, and how it counts."""

    blocks_per_eon = serializers.IntegerField()
    confirmation_blocks = serializers.IntegerField()

    class Meta:
        ref_name = "OperatorStatus"


class TokenSerializer(Fields):
    """A token. Ether's address is that of the contract."""

    address = _text(ADDRESS)
    name = _text("at most 40 characters", null=True)
    short_name = _text("at most 40 characters", null=True)

    class Meta:
        ref_name = "Token"


class AdmissionSerializer(Fields):
    """A wallet's registration."""

    eon_number = serializers.IntegerField(help_text="eon of the registration")
    authorization = _text(f"the owner's signature with trail 0, {SIGNATURE}", null=True)
    operator_authorization = _text(f"the operator's signature with the real trail, {SIGNATURE}", null=True)
    trail_identifier = serializers.IntegerField(
        help_text="place in the token's balance tree", allow_null=True
    )

    class Meta:
        ref_name = "Admission"


class ConciseWalletRefSerializer(Fields):
    """A wallet."""

    address = _text(ADDRESS)
    token = _text(ADDRESS)

    class Meta:
        ref_name = "ConciseWalletRef"


class WalletRefSerializer(ConciseWalletRefSerializer):
    """A wallet with its place in the token's balance tree."""

    trail_identifier = serializers.IntegerField(allow_null=True)

    class Meta:
        ref_name = "WalletRef"


class ConciseActiveStateSerializer(Fields):
    """An active state as a proof carries it; there the set's hash begins with 0x."""

    wallet_signature = _text(SIGNATURE)
    operator_signature = _text(SIGNATURE, null=True)
    updated_spendings = AmountText(help_text="spent in the eon so far")
    updated_gains = AmountText(help_text="gained in the eon so far")
    tx_set_hash = _text(f"root of the transaction set, {HASH}")

    class Meta:
        ref_name = "ConciseActiveState"


class ActiveStateSerializer(ConciseActiveStateSerializer):
    """An active state with the place of its newest transaction in the set."""

    tx_set_hash = _text(f"root of the transaction set, {RAW_HASH}")
    tx_set_proof = _hashes("siblings of the transaction in the set, leaf to root")
    tx_set_index = serializers.IntegerField()

    class Meta:
        ref_name = "ActiveState"


class ProofSerializer(Fields):
    """Proof of exclusive balance allotment in the checkpoint of an eon; the balance is right - left."""

    eon_number = serializers.IntegerField()
    left = AmountText()
    right = AmountText()
    allotment_chain = _hashes("siblings in the token's balance tree, leaf to root")
    membership_chain = _hashes("siblings of the token in the tree of tokens")
    values = serializers.ListField(
        child=AmountText(), help_text="outer bounds of the siblings in the balance tree"
    )
    trail = serializers.IntegerField()
    active_state_checksum = _text(f"signed hash of the last active state of the eon before, {HASH}")
    active_state = ConciseActiveStateSerializer(allow_null=True)
    passive_checksum = _text(f"root of what was received in the eon before, {HASH}")
    passive_amount = AmountText(help_text="received in the eon before")
    passive_marker = AmountText(help_text="position of the last transfer sent in the eon before")

    class Meta:
        ref_name = "Proof"


class TransferReceiptSerializer(Fields):
    """What both sides are told of a transfer."""

    id = serializers.IntegerField()
    wallet = WalletRefSerializer()
    amount = AmountText()
    time = serializers.IntegerField(help_text="UNIX seconds")
    eon_number = serializers.IntegerField()
    sender_active_state = ActiveStateSerializer()
    recipient = WalletRefSerializer()
    nonce = AmountText(help_text="256-bit integer")
    position = AmountText(help_text="what the recipient had received in the eon before this transfer")
    tx_id = serializers.UUIDField()

    class Meta:
        ref_name = "TransferReceipt"


class MatchedAmountsSerializer(Fields):
    """How far an order was filled by the end of an eon, those before it included."""

    matched_in = AmountText(help_text="received")
    matched_out = AmountText(help_text="given")

    class Meta:
        ref_name = "MatchedAmounts"


class DeliveryProofSerializer(Fields):
    """Proof that a transfer is in what its recipient received, or an order in its wallet's set."""

    merkle_proof = ProofSerializer(
        allow_null=True, help_text="the recipient's; null for the recipient itself"
    )
    transfer_membership_chain = _hashes("siblings in the recipient's tree, leaf to root")
    transfer_membership_trail = serializers.IntegerField(help_text="index of the leaf")
    transfer_membership_values = serializers.ListField(child=AmountText(), allow_null=True)

    class Meta:
        ref_name = "DeliveryProof"


class TransactionSerializer(Fields):
    """A transaction in full. What only swaps have is null for transfers."""

    id = serializers.IntegerField()
    tx_id = serializers.UUIDField()
    amount = AmountText()
    amount_swapped = AmountText(allow_null=True)
    wallet = WalletRefSerializer()
    recipient = WalletRefSerializer()
    nonce = AmountText(help_text="256-bit integer")
    passive = serializers.BooleanField()
    position = AmountText(allow_null=True)
    sender_active_state = ActiveStateSerializer()
    recipient_active_state = ActiveStateSerializer(allow_null=True)
    recipient_fulfillment_active_state = ActiveStateSerializer(allow_null=True)
    recipient_finalization_active_state = ActiveStateSerializer(allow_null=True)
    swap_freezing_signature = _text(SIGNATURE, null=True)
    sender_cancellation_active_state = ActiveStateSerializer(allow_null=True)
    sender_finalization_active_state = ActiveStateSerializer(allow_null=True)
    recipient_cancellation_active_state = ActiveStateSerializer(allow_null=True)
    sender_starting_balance = AmountText(allow_null=True, help_text="when the order was placed")
    recipient_starting_balance = AmountText(allow_null=True, help_text="when the order was placed")
    delivery_proof = DeliveryProofSerializer(
        allow_null=True, help_text="null before the checkpoint of the next eon"
    )
    eon_number = serializers.IntegerField()
    processed = serializers.BooleanField()
    complete = serializers.BooleanField()
    voided = serializers.BooleanField()
    cancelled = serializers.BooleanField()
    appended = serializers.BooleanField()
    swap = serializers.BooleanField()
    sell_order = serializers.BooleanField()
    matched_amounts = MatchedAmountsSerializer(allow_null=True)
    time = serializers.IntegerField(help_text="UNIX seconds")

    class Meta:
        ref_name = "Transaction"


class ConciseTransactionSerializer(Fields):
    """A transaction in a list."""

    wallet = ConciseWalletRefSerializer()
    recipient = ConciseWalletRefSerializer()
    time = serializers.IntegerField(help_text="UNIX seconds")
    id = serializers.IntegerField()
    tx_id = serializers.UUIDField()
    eon_number = serializers.IntegerField()
    swap = serializers.BooleanField()
    passive = serializers.BooleanField()
    complete = serializers.BooleanField()
    cancelled = serializers.BooleanField()
    voided = serializers.BooleanField()
    nonce = AmountText(help_text="256-bit integer")
    amount = AmountText()
    amount_swapped = AmountText(allow_null=True)

    class Meta:
        ref_name = "ConciseTransaction"


class TransactionPageSerializer(Fields):
    """A page of the transaction list."""

    count = serializers.IntegerField(allow_null=True, help_text="null for a page behind a cursor")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = ConciseTransactionSerializer(many=True)

    class Meta:
        ref_name = "TransactionPage"


class DepositSerializer(Fields):
    """A confirmed deposit, credited in `eon_number`."""

    txid = _text(f"Ethereum transaction, {RAW_HASH}")
    block = serializers.IntegerField()
    eon_number = serializers.IntegerField()
    amount = AmountText()
    time = serializers.IntegerField(help_text="UNIX seconds")

    class Meta:
        ref_name = "Deposit"


class WithdrawalRequestSerializer(DepositSerializer):
    """A confirmed request on chain to withdraw."""

    slashed = serializers.BooleanField(help_text="cancelled, because the amount had been spent")

    class Meta:
        ref_name = "WithdrawalRequest"


class WithdrawalSerializer(DepositSerializer):
    """A request that the contract paid."""

    request = WithdrawalRequestSerializer()

    class Meta:
        ref_name = "Withdrawal"


class WalletStateSerializer(Fields):
    """A wallet in an eon."""

    registration = AdmissionSerializer()
    merkle_proof = ProofSerializer(
        allow_null=True, help_text="null in the eon of registration and before the eon's checkpoint"
    )
    transactions = TransactionSerializer(many=True)
    deposits = DepositSerializer(many=True)
    withdrawal_requests = WithdrawalRequestSerializer(many=True)
    withdrawals = WithdrawalSerializer(many=True)

    class Meta:
        ref_name = "WalletState"


class RecoverAllArgumentsSerializer(Fields):
    """The arguments of recoverAllFunds, in their order."""

    token = _text(ADDRESS)
    holder = _text(ADDRESS)
    checksums = _hashes("of the active state and of what was received")
    trail = serializers.IntegerField()
    allotment_chain = _hashes("siblings in the token's balance tree, leaf to root")
    membership_chain = _hashes("siblings of the token in the tree of tokens")
    values = serializers.ListField(child=AmountText())
    interval = serializers.ListField(child=AmountText(), help_text="left and right bound of the allotment")
    dummy_passive_mark = serializers.ListField(child=AmountText(), help_text="0, passive amount and marker")

    class Meta:
        ref_name = "RecoverAllArguments"


class RecoveryWaySerializer(Fields):
    """What to call while the contract's lastSubmissionEon() is `last_submission_eon`."""

    last_submission_eon = serializers.IntegerField()
    merkle_root = _text(f"root of the checkpoint before that one, which is then final, {HASH}")
    allotment = AmountText(
        help_text="what that checkpoint allots; later deposits and older requests are added"
    )
    merkle_proof = ProofSerializer()
    function = _text("recoverAllFunds")
    arguments = RecoverAllArgumentsSerializer()
    calldata = _text("the call, ready to be sent to the contract: 0x and hexadecimal digits")

    class Meta:
        ref_name = "RecoveryWay"


class RecoverParentChainArgumentsSerializer(Fields):
    """The arguments of recoverOnlyParentChainFunds, in their order."""

    token = _text(ADDRESS)
    holder = _text(ADDRESS)

    class Meta:
        ref_name = "RecoverParentChainArguments"


class ParentChainRecoverySerializer(Fields):
    """What to call for money that is in no final checkpoint."""

    function = _text("recoverOnlyParentChainFunds")
    arguments = RecoverParentChainArgumentsSerializer()
    calldata = _text("the call, ready to be sent to the contract: 0x and hexadecimal digits")

    class Meta:
        ref_name = "ParentChainRecovery"


class RecoveryBundleSerializer(Fields):
    """All that an owner needs to recover its money from a halted contract, without the hub."""

    version = serializers.IntegerField(help_text="1")
    contract = _text(ADDRESS)
    chain_id = serializers.IntegerField()
    operator = _text(ADDRESS)
    token = _text(ADDRESS)
    token_trail = serializers.IntegerField(help_text="the token's place in the tree of tokens")
    wallet = _text(ADDRESS)
    trail_identifier = serializers.IntegerField(allow_null=True, help_text="null without registration")
    halted = serializers.BooleanField(help_text="whether the contract refuses to go on: recovery is possible")
    block = serializers.IntegerField(help_text="newest block that the hub has read")
    time = serializers.IntegerField(help_text="UNIX seconds")
    last_submission_eon = serializers.IntegerField(help_text="the contract's, at that block")
    ways = RecoveryWaySerializer(many=True, help_text="empty for a wallet that is in no checkpoint yet")
    parent_chain = ParentChainRecoverySerializer()
    instructions = serializers.ListField(child=_text("a sentence"), help_text="what to do, in plain words")

    class Meta:
        ref_name = "RecoveryBundle"
