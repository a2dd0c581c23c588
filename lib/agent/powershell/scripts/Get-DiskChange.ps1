<#
.SYNOPSIS
    What may have changed on a virtual disk since a reference point, one page.
.DESCRIPTION
    Input: { settings, path, limitId, targetSnapshotId, offsetBytes, lengthBytes, maximumRanges }.
    Output: { processedBytes, offsets, lengths }: decimal numbers joined by commas, which 5.1 writes fast.
    A page ends at the length, or after maximumRanges; each call asks at most changeChunkBytes ("less than the size of the
    virtual disk") and goes on at ProcessedByteLength.
    Source: hyperv.md 1.6 (GetVirtualDiskChanges), 3 (RCT loss), 4.1. INFERRED: the call answers without a job; one that starts
    a job gives no ranges here, which is reported as a lost reference, never as "nothing changed".
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $offsets = New-Object -TypeName System.Collections.ArrayList
    $lengths = New-Object -TypeName System.Collections.ArrayList
    $processed = [uint64]0
    $wanted = [uint64]$Request.lengthBytes
    while ($processed -lt $wanted -and $offsets.Count -lt [int]$Request.maximumRanges) {
        $length = [Math]::Min([uint64]$Request.settings.changeChunkBytes, $wanted - $processed)
        # "must be less than the size of the virtual disk": a question that could be the whole disk is asked in two parts.
        if ($length -eq $wanted -and $wanted -ge 2097152) { $length = [uint64]([Math]::Floor($wanted / 2097152) * 1048576) }
        $arguments = @{
            Path       = [string]$Request.path
            LimitId    = [string]$Request.limitId
            ByteOffset = [uint64]$Request.offsetBytes + $processed
            ByteLength = [uint64]$length
        }
        if ([string]$Request.targetSnapshotId -ne '') { $arguments['TargetSnapshotId'] = [string]$Request.targetSnapshotId }
        $result = Invoke-CimMethod -InputObject $images -MethodName GetVirtualDiskChanges -Arguments $arguments
        $returnValue = [long]$result.ReturnValue
        if ($returnValue -eq 4096) {
            $job = Wait-GcbJob -Job $result.Job -TimeoutMs ([long]$Request.settings.callTimeoutMs) -Subject $Request.path
            if ($null -eq $job) { Stop-GcbJob -Job $result.Job }
            Stop-GcbVerb -Code 'HV_REFERENCE_POINT_LOST' -Subject $Request.path -Message "The changes of $($Request.path) came as a job, which carries no ranges." -WmiReturnValue 4096 -Remedy 'Nothing to do: the disk is read completely. Report the Windows version.'
        }
        if ($returnValue -ne 0) {
            Stop-GcbVerb -Code 'HV_CALL_FAILED' -Subject $Request.path -Message "GetVirtualDiskChanges for $($Request.path) returned $returnValue." -WmiReturnValue $returnValue -Remedy 'The disk is read completely when the reference point is lost; look at the VHDMP events 8, 9 and 10.'
        }
        $step = [uint64]$result.ProcessedByteLength
        if ($step -eq 0 -or $step -gt $length) {
            Stop-GcbVerb -Code 'HV_REFERENCE_POINT_LOST' -Subject $Request.path -Message "GetVirtualDiskChanges for $($Request.path) processed $step of $length bytes." -Remedy 'Nothing to do: the disk is read completely.'
        }
        $changedOffsets = @($result.ChangedByteOffsets | Where-Object -FilterScript { $null -ne $_ })
        $changedLengths = @($result.ChangedByteLengths | Where-Object -FilterScript { $null -ne $_ })
        if ($changedOffsets.Count -ne $changedLengths.Count) {
            Stop-GcbVerb -Code 'HV_REFERENCE_POINT_LOST' -Subject $Request.path -Message "GetVirtualDiskChanges for $($Request.path) gave $($changedOffsets.Count) offsets and $($changedLengths.Count) lengths." -Remedy 'Nothing to do: the disk is read completely.'
        }
        $offsets.AddRange($changedOffsets)
        $lengths.AddRange($changedLengths)
        $processed += $step
    }
    [ordered]@{
        processedBytes = $processed
        offsets        = $offsets.ToArray() -join ','
        lengths        = $lengths.ToArray() -join ','
    }
}
