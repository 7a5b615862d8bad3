// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// Bookkeeping shared by the ill-behaved tokens; anybody may take what was approved and what was not.
abstract contract OpenToken {
    mapping(address holder => uint256) public balanceOf;

    constructor() {
        balanceOf[msg.sender] = 1e30;
    }

    function approve(address, uint256) external pure returns (bool) {
        return true;
    }

    function _move(address from, address to, uint256 value) internal {
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}

/// Keeps one percent of every transfer.
contract FeeToken is OpenToken {
    function transfer(address to, uint256 value) external returns (bool) {
        _moveLess(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        _moveLess(from, to, value);
        return true;
    }

    function _moveLess(address from, address to, uint256 value) private {
        _move(from, to, value);
        balanceOf[to] -= value / 100;
    }
}

/// Returns nothing, as some old tokens do.
contract SilentToken is OpenToken {
    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        _move(from, to, value);
    }
}

/// Reports failure by its return value: always, or once told to.
contract FalseToken is OpenToken {
    bool public refusing;

    function refuse(bool refusing_) external {
        refusing = refusing_;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        if (refusing) return false;
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        if (refusing) return false;
        _move(from, to, value);
        return true;
    }
}

/// Calls a target in the middle of every transfer and remembers whether that went through.
contract ReentrantToken is OpenToken {
    address public target;
    bytes public data;
    bool public succeeded;
    bytes public answer;

    function aim(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        _strike();
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        _strike();
        _move(from, to, value);
        return true;
    }

    function _strike() private {
        if (target != address(0)) (succeeded, answer) = target.call(data);
    }
}
